//! The command and its language from outside: what the linter says, and that nothing outlives a
//! run.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod command;
mod hosts;
mod lasting;
mod lint;
mod living;
mod orphans;
mod stories;
mod stubborn;
