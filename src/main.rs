//! Parse, run, print one error, exit.

use std::process::ExitCode;

use clap::Parser;
use consistent_backup::{cli::Cli, commands, escape, output};

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return unparsed(&error),
    };
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

/// Prints help (exit code 0) or a usage error (exit code 2). clap quotes an argument with the
/// bidirectional marks in it, and scripts pass names as arguments: such a text is escaped.
fn unparsed(error: &clap::Error) -> ExitCode {
    let text = error.render().to_string();
    if error.use_stderr() && escape::escape_block(&text) != text {
        output::to_stderr(&text);
    } else {
        // A closed pipe is no error.
        let _ = error.print();
    }
    u8::try_from(error.exit_code()).map_or(ExitCode::FAILURE, ExitCode::from)
}
