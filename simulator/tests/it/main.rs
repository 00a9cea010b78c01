//! The scripts of the protocol, the plans that once failed, and what the command does.

mod command;
mod records;
mod regressions;
mod scripts;
