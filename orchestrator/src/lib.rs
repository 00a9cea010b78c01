//! From a scenario file to a verdict on a real group of peers.
//!
//! [`scenario`] reads and checks a file; [`plan`] tells what a seed makes of it; [`engine`] does
//! its steps in a [`world`]; everything that was seen is [`observed`]; [`expect`] and the judge of
//! `promises` weigh it; [`verdict`] is the outcome and [`report`] tells it. [`runner`] ties a run
//! together, [`supervisor`] sees to it that nothing outlives one, and [`folder`] is what stays.
//!
//! Peers are started as processes and never linked: what is tested is what ships.

pub mod cli;
pub mod clock;
pub mod console;
mod disks;
pub mod engine;
pub mod expect;
pub mod folder;
pub mod holdings;
pub mod namespaces;
pub mod observed;
pub mod pages;
pub mod plan;
pub mod printer;
pub mod processes;
pub mod report;
pub mod runner;
pub mod scenario;
pub mod signals;
pub mod storm;
pub mod strays;
pub mod supervisor;
pub mod verdict;
pub mod workload;
pub mod world;
