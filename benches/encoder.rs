//! How long the encoder takes for one text, by its length and by how it is computed:
//! `RAYON_NUM_THREADS=1 cargo bench --bench encoder`, after `pointsman models fetch`.
//!
//! The forms take turns, so that what else the machine does hits all of them; the table gives the median, and how many
//! times as fast as the stock model of candle-transformers that is. Each is on one thread; the last two columns are the
//! first form behind the queue that requests go through, from text to vector, with one worker and with one a core that
//! share the text. Compare within a row; what a second core gives shows only where both are idle.
#![expect(clippy::print_stdout, reason = "the table is the result")]

use std::sync::Arc;
use std::time::Duration;

use comfy_table::{Table, presets};
use pointsman::base::{Clock, Seed, SystemClock};
use pointsman::embed::{Config, Embedder as _, Encoder, Form, Workers, sources};

const LENGTHS: [usize; 6] = [8, 16, 32, 64, 128, 256];

/// Time given to a length, for all forms together.
const BUDGET: Duration = Duration::from_secs(4);

fn main() {
    let config = Config::default();
    let files = sources::find(&config, &(Arc::new(|_: &_| ()) as _)).unwrap_or_else(|error| panic!("{error}"));
    let forms = Form::of_files(&files).expect("the pinned files have a known shape");
    let encoders: Vec<Encoder> =
        forms.iter().map(|form| Encoder::of(&files, &config, Some(*form)).expect("it loads")).collect();
    let clock = SystemClock::new();
    let queue = |workers| {
        // No text is remembered: the same one is asked for again and again.
        let config = Config { workers, remembered: 0, ..Config::default() };
        Workers::with(Encoder::of(&files, &config, None).expect("it loads"), &config).expect("threads start")
    };
    let queues = [queue(Some(1)), queue(None)];

    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header(
        ["tokens".to_owned()]
            .into_iter()
            .chain(forms.iter().map(|form| format!("{form}, ms (times)")))
            .chain(["one worker", "all workers"].map(str::to_owned)),
    );
    for length in LENGTHS {
        let tokens = [tokens(length)];
        let text = words(length);
        let mut times = vec![Vec::new(); encoders.len() + queues.len()];
        let start = clock.monotonic();
        // The first round warms caches and is not counted.
        for round in 0.. {
            for (encoder, times) in encoders.iter().zip(&mut times) {
                let before = clock.monotonic();
                let vectors = encoder.forward(&tokens).expect("it encodes");
                let took = clock.monotonic() - before;
                assert_eq!(divan::black_box(vectors).len(), 1);
                if round > 0 {
                    times.push(took);
                }
            }
            for (queue, times) in queues.iter().zip(&mut times[encoders.len()..]) {
                let before = clock.monotonic();
                let vector = futures::executor::block_on(queue.embed(&text, BUDGET));
                let took = clock.monotonic() - before;
                assert!(divan::black_box(vector).is_some());
                if round > 0 {
                    times.push(took);
                }
            }
            if round >= 5 && clock.monotonic() - start > BUDGET {
                break;
            }
        }
        let medians: Vec<f64> = times.iter_mut().map(|times| median(times)).collect();
        let stock = medians[encoders.len() - 1];
        let cells = medians.iter().map(|median| format!("{median:.2} ({:.1})", stock / median));
        table.add_row([length.to_string()].into_iter().chain(cells));
    }
    println!("{table}");
}

/// A text of so many tokens: its ends, and between them words by chance.
fn tokens(length: usize) -> Vec<u32> {
    let words = (2..length).map(|i| 1000 + (Seed(length as u64).uniform(&i.to_string()) * 28_000.0) as u32);
    [101].into_iter().chain(words).chain([102]).collect()
}

/// A text of so many tokens: one a word, and its ends.
fn words(length: usize) -> String {
    vec!["signal"; length - 2].join(" ")
}

fn median(times: &mut [Duration]) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1e3
}
