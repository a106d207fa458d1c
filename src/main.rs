//! Parse, run, print one error, exit.

use std::process::ExitCode;

use clap::Parser;
use consistent_backup::{cli::Cli, commands, output};

fn main() -> ExitCode {
    // clap prints help and usage errors itself and exits with 0 or 2.
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(e) => {
            output::to_stderr(&format!("error: the program could not start: {e}"));
            return consistent_backup::error::ExitCode::Failed.into();
        }
    };
    match runtime.block_on(commands::run(cli)) {
        Ok(code) => code.into(),
        Err(error) => {
            output::to_stderr(&output::error(&error));
            error.code.into()
        }
    }
}
