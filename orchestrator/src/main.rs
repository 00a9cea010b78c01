//! The `orchestrator` command; everything is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    orchestrator::cli::main()
}
