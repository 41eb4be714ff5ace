//! Parses the command line, does what it says, and turns what went wrong into a sentence and an exit code:
//! 0 done, 1 failed, 2 called or configured wrongly.
#![expect(clippy::print_stderr, reason = "the last word of a failed command")]

use std::process::ExitCode;

use clap::Parser;
use pointsman::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// What `println!` says when whoever read our output has seen enough, as `| head` does.
const CLOSED: &str = "failed printing to stdout: Broken pipe";

/// Ends the process in peace when its reader has gone, instead of by a panic and a trace.
fn end_with_the_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if panic.payload_as_str().is_some_and(|words| words.starts_with(CLOSED)) {
            std::process::exit(0);
        }
        usual(panic);
    }));
}

fn main() -> ExitCode {
    end_with_the_reader();
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("pointsman: the runtime cannot be started: {error}");
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(cli::run(cli)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("pointsman: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}
