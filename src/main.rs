//! Parses the command line, does what it says, and turns what went wrong into a sentence and an exit code:
//! 0 done, 1 failed, 2 called or configured wrongly.
#![expect(clippy::print_stderr, reason = "the last word of a failed command")]

use std::process::ExitCode;

use clap::Parser;
use pointsman::cli::{self, Cli};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
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
