//! The scripts of the protocol, and what the command does.

mod command;
mod scripts;
