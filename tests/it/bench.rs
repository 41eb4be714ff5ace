//! The benchmark against the reference figures of its protocol.

use std::path::Path;

use pointsman::eval::bars::streams;
use pointsman::eval::exam::{Exam, Marks};
use pointsman::eval::offline::{Effort, leave_group_out};
use pointsman::eval::routers::{
    GroupMean, KnnRidge, Length, Lesson, Lexical, Neighbours, Outcomes, Pointsman, Random, Ridge, Router,
};
use pointsman::eval::split::{Split, order};
use pointsman::eval::table::{Table, hex};

fn bundled(set: &str) -> Table {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("datasets/{set}/{set}.safetensors"));
    Table::from_bytes(&std::fs::read(path).expect("a bundled table")).expect("a sound table")
}

fn lesson_and_exam(table: &Table, s: u32) -> (Lesson, Exam) {
    let split = Split::numbered(table, s);
    let lesson = Lesson::of(table, &split, s);
    let mean = Outcomes::of(table, &(0..table.len()).collect::<Vec<_>>()).mean_score();
    let reference = lesson.outcomes.mean_cost().iter().copied().fold(0.0, f64::max);
    let exam = Exam::new(
        Outcomes::of(table, &split.test),
        reference,
        lesson.outcomes.best_single(),
        usize::from(mean[1] > mean[0]),
    );
    (lesson, exam)
}

#[test]
fn the_order_of_rows_is_the_protocols() {
    for (set, first) in [
        ("llmrouter-ulab", "3c8b8b4e 75918aa5 e8191e23"),
        ("zeroeval", "2e90f6ac 3ea5d7d9 b40d4670"),
        ("paretobandit", "318d367e a0af7f0a b712f50b"),
        ("routellm-mmlu", "4208e2fc 6956765a 42f13c7c"),
        ("routellm-gsm8k", "3ea5d7d9 b40d4670 7099bc5d"),
    ] {
        let table = bundled(set);
        let rows = order("split-0", &table.ids, 0..table.len());
        let names: Vec<String> = rows[..3].iter().map(|row| hex(&table.ids[*row])[..8].to_owned()).collect();
        assert_eq!(names.join(" "), first, "{set}");
    }
}

fn check(set: &str, s: u32, figures: &[(&dyn Router, f64, f64)]) {
    let (lesson, exam) = lesson_and_exam(&bundled(set), s);
    for (router, expected, tolerance) in figures {
        let marks = exam.marks(&router.expect(&lesson).expect("works on this set"));
        let got = match marks {
            Marks::Pool(figures) => figures.aiq,
            Marks::Pair(figures) => figures.apgr,
            Marks::Scores(figures) => figures.quality,
        };
        assert!((got - expected).abs() <= *tolerance, "{set}: {} {got:.6}, expected {expected}", router.name());
    }
}

#[test]
fn zero_router_and_oracle_are_the_protocols() {
    for (set, zero, oracle) in [
        ("llmrouter-ulab", 0.583_011, 0.791_627),
        ("zeroeval", 0.800_807, 0.952_649),
        ("paretobandit", 0.938_819, 0.973_337),
    ] {
        let (_, exam) = lesson_and_exam(&bundled(set), 0);
        let lines = exam.yardstick().expect("a pool");
        assert!((lines.aiq(&lines.zero) - zero).abs() < 1e-5, "{set}: {}", lines.aiq(&lines.zero));
        assert!((lines.aiq(&lines.oracle) - oracle).abs() < 1e-5, "{set}: {}", lines.aiq(&lines.oracle));
    }
}

#[test]
fn baselines_of_pools_are_the_protocols() {
    check(
        "llmrouter-ulab",
        0,
        &[
            (&Length, 0.603_235, 1e-5),
            (&Lexical, 0.611_450, 1e-5),
            (&GroupMean, 0.633_364, 1e-5),
            (&Neighbours, 0.620_402, 5e-4),
            (&Ridge, 0.615_723, 2e-5),
            (&KnnRidge, 0.622_555, 5e-4),
        ],
    );
    check(
        "zeroeval",
        0,
        &[
            (&Length, 0.798_676, 1e-5),
            (&Lexical, 0.810_156, 1e-5),
            (&GroupMean, 0.811_712, 1e-5),
            (&Neighbours, 0.804_388, 5e-4),
            (&Ridge, 0.806_017, 2e-5),
            (&KnnRidge, 0.810_349, 5e-4),
        ],
    );
    check(
        "paretobandit",
        0,
        &[
            (&Length, 0.938_609, 1e-5),
            (&Lexical, 0.940_697, 1e-5),
            (&GroupMean, 0.941_045, 1e-5),
            (&Neighbours, 0.939_822, 5e-4),
            (&Ridge, 0.941_872, 2e-5),
            (&KnnRidge, 0.939_895, 5e-4),
        ],
    );
}

#[test]
fn baselines_of_two_models_are_the_protocols() {
    check(
        "routellm-gsm8k",
        0,
        &[
            (&Length, 0.544_218, 1e-5),
            (&Lexical, 0.569_812, 1e-5),
            (&Neighbours, 0.612_353, 2e-3),
            (&Ridge, 0.615_624, 2e-4),
            (&KnnRidge, 0.619_356, 2e-3),
        ],
    );
}

#[test]
fn baselines_of_two_models_with_many_subjects_are_the_protocols() {
    check(
        "routellm-mmlu",
        0,
        &[
            (&Length, 0.579_483, 1e-5),
            (&Lexical, 0.604_453, 1e-5),
            // Subjects of equal mean stand in the order that rounding gives them.
            (&GroupMean, 0.655_626, 5e-4),
            (&Neighbours, 0.634_619, 2e-3),
            (&Ridge, 0.630_544, 2e-3),
            (&KnnRidge, 0.639_146, 2e-3),
        ],
    );
}

#[test]
fn the_recipe_clears_neighbours_with_ridge_where_the_tasks_are_known() {
    let (lesson, exam) = lesson_and_exam(&bundled("llmrouter-ulab"), 0);
    let share = |router: &dyn Router| exam.marks(&router.expect(&lesson).expect("works")).headline();
    assert!(share(&Pointsman) > share(&KnnRidge) + 1.5);
}

#[test]
fn the_recipe_needs_neither_labels_nor_costs_nor_many_rows() {
    use pointsman::eval::routers::Prompts;

    let table = bundled("zeroeval");
    let (known, asked): (Vec<usize>, Vec<usize>) = ((0..24).collect(), (24..60).collect());
    for rows in [&known[..], &known[..9]] {
        let mut train = Prompts::of(&table, rows);
        train.group = vec![None; rows.len()];
        let mut outcomes = Outcomes::of(&table, rows);
        outcomes.cost = None;
        let lesson = Lesson::new(table.models.clone(), 0, train, outcomes, Prompts::of(&table, &asked));
        let expected = Pointsman.expect(&lesson).expect("works on any set");
        assert!(expected.cost.is_none() && expected.score.iter().all(|x| x.is_finite()), "{} rows", rows.len());
    }
}

/// The stored vectors against the encoder, on a few rows of the smallest set, where its rows and the encoder's weights are at hand.
#[test]
fn stored_vectors_are_those_of_the_encoder() {
    use pointsman::cli::datasets;
    use pointsman::eval::table::{Limits, Provenance};

    let folders = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors();
    let mut files = folders.map(|folder| folder.join("shared/datasets/routellm-mtbench/rows.jsonl.gz"));
    let (Some(file), Ok(encoder)) = (files.find(|file| file.exists()), datasets::encoder()) else { return };
    let stored = bundled("routellm-mtbench");
    let intake = datasets::rows_of(&file, Limits { keep: 6 }).expect("rows");
    let table = datasets::encoded(intake, &encoder, Provenance::default(), &|_| ()).expect("vectors");
    assert_eq!(table.len(), 6);
    for (row, id) in table.ids.iter().enumerate() {
        let place = stored.ids.binary_search(id).expect("a stored row");
        assert_eq!(
            (table.score.row(row), table.lexical.row(row)),
            (stored.score.row(place), stored.lexical.row(place))
        );
        let (ours, kept) = (table.vector(row), stored.vector(place));
        let cosine = ours.dot(&kept) / (ours.dot(&ours) * kept.dot(&kept)).sqrt();
        assert!(cosine >= 0.9995, "row {row}: cosine {cosine}");
    }
}

/// How anybody enters the table: a struct with one method, or the same choices written down as `id,model`.
#[test]
fn a_router_of_ones_own_is_a_small_trait_or_a_list() {
    use std::fmt::Write as _;

    use pointsman::eval::routers::Choices;

    /// Short prompts go to the first model, long ones to the last.
    struct Mine;

    impl Mine {
        fn picks(lesson: &Lesson) -> Vec<usize> {
            let last = lesson.models.len() - 1;
            lesson.test.chars.iter().map(|chars| if *chars < 400.0 { 0 } else { last }).collect()
        }
    }

    impl Router for Mine {
        fn name(&self) -> &'static str {
            "mine"
        }

        fn expect(&self, lesson: &Lesson) -> Option<Outcomes> {
            let mut expected =
                lesson.outcomes.map(|matrix| ndarray::Array2::zeros((lesson.test.len(), matrix.ncols())));
            for (row, pick) in Self::picks(lesson).into_iter().enumerate() {
                expected.score[[row, pick]] = 1.0;
            }
            Some(expected)
        }
    }

    let (lesson, exam) = lesson_and_exam(&bundled("zeroeval"), 0);
    let mut list = "id,model\n".to_owned();
    for (id, pick) in lesson.test.ids.iter().zip(Mine::picks(&lesson)) {
        writeln!(list, "{},{}", hex(id), lesson.models[pick]).expect("text");
    }
    let listed = Choices::read("listed", list.as_bytes()).expect("a list");
    let marks = |router: &dyn Router| exam.marks(&router.expect(&lesson).expect("works on any set"));
    assert_eq!(marks(&Mine), marks(&listed));
    assert!(matches!(marks(&Mine), Marks::Pool(figures) if figures.quality_alone > 0.5));
}

#[test]
fn a_set_without_costs_or_groups_is_judged_on_scores_alone() {
    use pointsman::eval::offline::{Effort, in_distribution, leave_group_out};
    use pointsman::eval::report::routers;
    use pointsman::eval::table::{Limits, Provenance, read_rows};

    let row = |i: usize| {
        let score = |m: usize| (i * 7 + m * 3) % 5;
        format!(
            r#"{{"prompt":"prompt {i}","outcomes":{{"a":{{"score":0.{}}},"b":{{"score":0.{}}},"c":{{"score":0.{}}}}}}}"#,
            score(0),
            score(1),
            score(2)
        )
    };
    let rows: Vec<String> = (0..40).map(row).collect();
    let intake = read_rows(rows.join("\n").as_bytes(), Limits::default()).expect("rows");
    let vectors: Vec<Vec<f32>> =
        intake.prompts().iter().map(|p| pointsman::embed::hashing::embed(p).vector.to_vec()).collect();
    let table = intake.into_table(&vectors, Provenance::default());
    let effort = Effort { seeds: 2, draws: 20, threads: 1, done: &|| () };
    let column = in_distribution(&table, &routers(), effort);
    let row = column.row("pointsman").expect("works without costs and labels");
    assert!((0.0..=1.0).contains(&row.mean("quality_alone")));
    assert!(column.row("group mean").is_none(), "there are no groups");
    assert!(leave_group_out(&table, &routers(), effort).is_none());
}

fn effort(seeds: u32) -> Effort<'static> {
    Effort { seeds, draws: 10, threads: 2, done: &|| () }
}

#[test]
fn random_choices_on_a_stream_are_what_all_arms_give_on_average() {
    let (online, _) = streams::from_cold(&bundled("paretobandit"), effort(10));
    let random = online.rows.iter().find(|row| row.policy == "random").expect("random is played");
    let means: Vec<String> = random.means.iter().map(|(_, mean)| format!("{mean:.3}")).collect();
    assert_eq!(means, ["0.893", "0.897", "0.897"]);
    assert_eq!(format!("{:.0}", random.regret_to_fixed.last().expect("an end").1.mean), "57");
}

#[test]
fn the_policy_learns_whatever_order_the_models_come_in() {
    let (online, bars) = streams::from_cold(&bundled("paretobandit"), effort(2));
    let random = online.rows.iter().find(|row| row.policy == "random").expect("random is played");
    let chance = random.regret_to_fixed.last().expect("an end").1.mean;
    for subject in ["from cold", "opposite order"] {
        let bar = bars.iter().find(|bar| bar.subject.contains(subject)).expect("a bar on it");
        assert!(bar.figure < chance / 3.0, "{}: {} beside chance's {chance}", bar.subject, bar.figure);
    }
}

#[test]
fn random_scores_of_left_out_subjects_are_the_protocols() {
    let routers: Vec<Box<dyn Router>> = vec![Box::new(Random)];
    let column = leave_group_out(&bundled("routellm-mmlu"), &routers, effort(1)).expect("there are subjects");
    let row = column.row("random").expect("a pair has a random router");
    let figures = ["apgr", "cpt50", "cpt80"].map(|name| format!("{:.3}", row.mean(name)));
    assert_eq!(figures, ["0.483", "52.703", "82.570"]);
}
