//! Turns a scenario file into a verdict on a real group of peers.
//!
//! [`scenario`] reads and checks a file; [`plan`] shows what a seed draws for it; [`engine`]
//! performs its steps in a [`world`]; [`observed`] holds all observations; [`expect`] and the judge
//! in `promises` check them; [`verdict`] is the outcome and [`report`] prints it. [`runner`]
//! performs a whole run, [`supervisor`] ensures that no process outlives it, and [`folder`] is the
//! run folder.
//!
//! Peers are started as processes and never linked: the tests run the program that ships.

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
