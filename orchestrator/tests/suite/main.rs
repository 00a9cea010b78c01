//! The command and its language from outside: what the linter says, and that nothing outlives a run.

mod command;
mod lint;
mod orphans;
