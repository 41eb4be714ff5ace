//! What a run comes to, beside what always asking the same model would have come to on the same prompts.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Serialize;

use super::client::{Answer, Turn};
use crate::catalog::Price;
use crate::chat::Usage;
use crate::embed::Status;
use crate::simulate::{Prompt, Served, Truth, tokens};

/// A run, as far as it has come.
pub(super) struct Run {
    models: Vec<Model>,
    rows: Vec<Option<Row>>,
    graded: usize,
    done: usize,
    errors: Vec<String>,
}

/// A model, and what it makes of every prompt of the run, whether or not it was asked.
struct Model {
    deployment: String,
    name: String,
    price: Price,
    alone: Vec<(f64, f64)>,
}

/// One answered request.
struct Row {
    model: usize,
    score: f64,
    cost: f64,
    overhead_ms: f64,
    took_ms: f64,
}

/// Quality and cost of some requests.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    /// How many were answered.
    pub(super) requests: usize,
    /// Mean grade of the answers.
    pub(super) mean_quality: f64,
    /// What they cost.
    pub(super) cost_usd: f64,
    /// Always asking the model that is best over the whole run.
    pub(super) best_single: Alone,
    /// Always asking the one that is cheapest over the whole run.
    pub(super) cheapest: Alone,
    /// Always asking the cheapest of those that alone would have been at least as good as the run was, if any.
    pub(super) as_good: Option<Alone>,
}

/// What one model alone would have made of the same prompts.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Alone {
    /// Which one.
    pub(super) model: String,
    /// Mean grade of its answers.
    pub(super) mean_quality: f64,
    /// What they would have cost.
    pub(super) cost_usd: f64,
}

/// How one deployment fared.
pub(super) struct Share {
    pub(super) deployment: String,
    pub(super) price: Price,
    pub(super) requests: usize,
    /// Share of the requests: all, the first quarter, the last that are answered.
    pub(super) all: f64,
    pub(super) first: f64,
    pub(super) lately: f64,
    pub(super) mean_quality: Option<f64>,
    pub(super) cost_usd: f64,
    pub(super) mean_ms: Option<f64>,
    /// Always asking its model, on all prompts that are answered.
    pub(super) alone: Alone,
}

impl Model {
    /// What it alone would have made of these prompts of the run.
    fn alone_on(&self, prompts: impl Iterator<Item = usize> + Clone) -> Alone {
        let outcomes = prompts.map(|index| self.alone[index]);
        Alone {
            model: self.name.clone(),
            mean_quality: mean(outcomes.clone().map(|(score, _)| score)).unwrap_or_default(),
            cost_usd: outcomes.map(|(_, cost)| cost).sum(),
        }
    }
}

impl Run {
    pub(super) fn new(truth: &dyn Truth, providers: &[Served], order: &[&Prompt]) -> Self {
        let models = providers
            .iter()
            .map(|served| {
                let (name, price) = (&served.provider.models[0], &served.provider.price);
                let alone = order.iter().filter_map(|prompt| {
                    let outcome = truth.outcome(name, &prompt.prompt)?;
                    let usage = Usage {
                        prompt_tokens: Some(tokens(&prompt.prompt)),
                        completion_tokens: Some(outcome.completion_tokens),
                        ..Usage::default()
                    };
                    Some((outcome.score, price.cost(&usage)?.get()))
                });
                let alone = alone.collect();
                Model { deployment: served.provider.name.clone(), name: name.clone(), price: price.clone(), alone }
            })
            .collect();
        let rows = std::iter::repeat_with(|| None).take(order.len()).collect();
        Self { models, rows, graded: 0, done: 0, errors: Vec::new() }
    }

    pub(super) fn add(&mut self, turn: Turn) {
        self.done += 1;
        self.graded += usize::from(turn.graded);
        match turn.answer.and_then(|answer| self.row(&answer)) {
            Ok(row) => self.rows[turn.index] = Some(row),
            Err(error) => self.errors.push(error),
        }
    }

    fn row(&self, answer: &Answer) -> Result<Row, String> {
        let found = self.models.iter().position(|model| model.deployment == answer.deployment);
        let model = found.ok_or_else(|| format!("an answer of the unknown deployment {}", answer.deployment))?;
        let cost = self.models[model].price.cost(&answer.usage).ok_or("an answer without its usage")?.get();
        let took_ms = answer.took.as_secs_f64() * 1e3;
        Ok(Row { model, score: answer.score, cost, overhead_ms: answer.overhead_ms, took_ms })
    }

    pub(super) fn done(&self) -> usize {
        self.done
    }

    pub(super) fn total(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn errors(&self) -> &[String] {
        &self.errors
    }

    /// The figures of the answered requests among these.
    pub(super) fn figures(&self, range: Range<usize>) -> Option<Figures> {
        let answered: Vec<(usize, &Row)> =
            range.filter_map(|index| self.rows[index].as_ref().map(|row| (index, row))).collect();
        let count = answered.len();
        let quality = mean(answered.iter().map(|(_, row)| row.score))?;
        let alone = |model: &Model| model.alone_on(answered.iter().map(|(index, _)| *index));
        let as_good = self.models.iter().map(alone).filter(|alone| alone.mean_quality >= quality);
        let as_good = as_good.min_by(|a, b| a.cost_usd.total_cmp(&b.cost_usd));
        // Which model is best or cheapest is a property of the whole run: no part may choose its own.
        let over_all = |value: fn(&(f64, f64)) -> f64| move |model: &&Model| model.alone.iter().map(value).sum::<f64>();
        let by = |value: fn(&(f64, f64)) -> f64| {
            move |a: &&Model, b: &&Model| over_all(value)(a).total_cmp(&over_all(value)(b))
        };
        Some(Figures {
            requests: count,
            mean_quality: quality,
            cost_usd: answered.iter().map(|(_, row)| row.cost).sum(),
            best_single: alone(self.models.iter().max_by(by(|outcome| outcome.0))?),
            cheapest: alone(self.models.iter().min_by(by(|outcome| outcome.1))?),
            as_good,
        })
    }

    /// The figures of everything that is answered.
    pub(super) fn all(&self) -> Option<Figures> {
        self.figures(0..self.total())
    }

    /// The requests of the first quarter ...
    pub(super) fn first(&self) -> Range<usize> {
        0..self.total() / 4
    }

    /// ... and the last quarter's worth of those that were sent.
    pub(super) fn lately(&self) -> Range<usize> {
        self.done.saturating_sub(self.total() / 4)..self.done
    }

    /// Every deployment's part, in the order of the catalogue.
    pub(super) fn shares(&self) -> Vec<Share> {
        let share = |model: usize, range: Range<usize>| {
            let rows = || self.rows[range.clone()].iter().flatten();
            rows().filter(|row| row.model == model).count() as f64 / (rows().count() as f64).max(1.0)
        };
        let answered = (0..self.total()).filter(|index| self.rows[*index].is_some());
        let of = |(index, model): (usize, &Model)| {
            let rows: Vec<&Row> = self.rows.iter().flatten().filter(|row| row.model == index).collect();
            Share {
                deployment: model.deployment.clone(),
                price: model.price.clone(),
                requests: rows.len(),
                all: share(index, 0..self.total()),
                first: share(index, self.first()),
                lately: share(index, self.lately()),
                mean_quality: mean(rows.iter().map(|row| row.score)),
                cost_usd: rows.iter().map(|row| row.cost).sum(),
                mean_ms: mean(rows.iter().map(|row| row.took_ms)),
                alone: model.alone_on(answered.clone()),
            }
        };
        self.models.iter().enumerate().map(of).collect()
    }

    /// Pointsman's own time at this quantile, milliseconds: the nearest rank.
    pub(super) fn overhead_ms(&self, quantile: f64) -> Option<f64> {
        let mut times: Vec<f64> = self.rows.iter().flatten().map(|row| row.overhead_ms).collect();
        times.sort_by(f64::total_cmp);
        let rank = (quantile * times.len() as f64).ceil() as usize;
        times.get(rank.saturating_sub(1)).copied()
    }

    /// The whole run as one JSON object. What is not known, because nothing was answered, is null.
    pub(super) fn json(&self, seed: u64, encoder: &Status) -> String {
        #[derive(Serialize)]
        struct Report<'a> {
            simulated: bool,
            seed: u64,
            encoder: &'a Status,
            requests: usize,
            errors: usize,
            graded: usize,
            mean_quality: Option<f64>,
            cost_usd: Option<f64>,
            saved_share: Option<f64>,
            best_single: Option<Alone>,
            cheapest: Option<Alone>,
            as_good: Option<Alone>,
            p50_ms: Option<f64>,
            p99_ms: Option<f64>,
            share: BTreeMap<String, f64>,
            alone: BTreeMap<String, Alone>,
            first_quarter: Option<Figures>,
            last_quarter: Option<Figures>,
            first_error: Option<&'a String>,
        }
        let (all, shares) = (self.all(), self.shares());
        let report = Report {
            simulated: true,
            seed,
            encoder,
            requests: self.done,
            errors: self.errors.len(),
            graded: self.graded,
            mean_quality: all.as_ref().map(|all| all.mean_quality),
            cost_usd: all.as_ref().map(|all| all.cost_usd),
            saved_share: all.as_ref().map(Figures::saved),
            best_single: all.as_ref().map(|all| all.best_single.clone()),
            cheapest: all.as_ref().map(|all| all.cheapest.clone()),
            as_good: all.and_then(|all| all.as_good),
            p50_ms: self.overhead_ms(0.5),
            p99_ms: self.overhead_ms(0.99),
            share: shares.iter().map(|share| (share.deployment.clone(), share.all)).collect(),
            alone: shares.into_iter().map(|share| (share.deployment, share.alone)).collect(),
            first_quarter: self.figures(self.first()),
            last_quarter: self.figures(self.lately()),
            first_error: self.errors.first(),
        };
        serde_json::to_string_pretty(&report).unwrap_or_default()
    }
}

impl Figures {
    /// Share of the best single model's cost that was not spent.
    pub(super) fn saved(&self) -> f64 {
        1.0 - self.cost_usd / self.best_single.cost_usd
    }
}

fn mean(values: impl Iterator<Item = f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_usize), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / count as f64)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::simulate::{World, prompts};

    fn run() -> Run {
        let world = World::new(1);
        let served: Vec<Served> = world
            .providers()
            .iter()
            .map(|provider| Served { provider: provider.clone(), base_url: String::new() })
            .collect();
        let order: Vec<&Prompt> = prompts::bundled().iter().take(8).collect();
        Run::new(&world, &served, &order)
    }

    #[expect(clippy::unnecessary_wraps, reason = "a turn holds a result")]
    fn answer(deployment: &str, score: f64, overhead_ms: f64) -> Result<Answer, String> {
        let usage = Usage { prompt_tokens: Some(1_000_000), completion_tokens: Some(0), ..Usage::default() };
        let took = Duration::from_millis(20);
        Ok(Answer { deployment: deployment.to_owned(), score, usage, overhead_ms, took })
    }

    #[test]
    fn an_error_is_counted_and_left_out_of_the_means() {
        let mut run = run();
        run.add(Turn { index: 0, answer: answer("swift", 0.5, 1.0), graded: true });
        run.add(Turn { index: 1, answer: Err("broken".to_owned()), graded: false });
        run.add(Turn { index: 2, answer: answer("grand", 1.0, 3.0), graded: false });
        let all = run.all().expect("two are answered");
        assert_eq!((all.requests, all.mean_quality, run.errors().len()), (2, 0.75, 1));
        assert!((all.cost_usd - 5.06).abs() < 1e-9, "a million input tokens of each: {}", all.cost_usd);
        assert_eq!((run.overhead_ms(0.5), run.overhead_ms(0.99)), (Some(1.0), Some(3.0)));
    }

    #[test]
    fn one_model_alone_is_judged_on_the_same_prompts_as_the_run() {
        let mut run = run();
        for index in [1, 3] {
            run.add(Turn { index, answer: answer("swift", 0.5, 1.0), graded: false });
        }
        let alone = run.all().expect("two are answered").best_single;
        let best = run.models.iter().find(|model| model.name == alone.model).expect("it is one of them");
        assert!((alone.mean_quality - f64::midpoint(best.alone[1].0, best.alone[3].0)).abs() < 1e-12);
        assert!((alone.cost_usd - (best.alone[1].1 + best.alone[3].1)).abs() < 1e-12);
    }

    #[test]
    fn nothing_answered_is_null_and_not_zero() {
        let report: serde_json::Value = serde_json::from_str(&run().json(1, &Status::Ready)).expect("is JSON");
        assert!(report["mean_quality"].is_null() && report["p50_ms"].is_null() && report["cost_usd"].is_null());
        assert_eq!(report["requests"], 0);
    }
}
