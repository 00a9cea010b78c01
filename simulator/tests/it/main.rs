//! The scripts of the protocol, the regression plans, and the command.

mod command;
mod records;
mod regressions;
mod scripts;
