//! The promises of a group of peers, and a judge that decides from a history whether the group kept
//! them.
//!
//! A run leaves a [`History`]: the reports of the peers ([`protocol::note::Event`]) and the ground
//! truth from outside ([`WorldEvent`]), in one timeline. [`judge()`] checks every promise of the
//! [`CATALOGUE`] against it and returns a [`Judgement`]: held, broken (with the few records that
//! prove it), or unknown if no record could have broken it. The same judge serves simulated runs
//! and real ones.
//!
//! Pure: no file, no clock, no thread. Callers read the event files and pass their text.

mod beyond;
pub mod catalogue;
mod check;
pub mod disk;
pub mod exit;
pub mod fault;
pub mod history;
mod index;
pub mod judge;
mod judged_run;
pub mod selector;
pub mod shape;
mod sheet;
pub mod standing;
pub mod world;

pub use beyond::{BEYOND, Beyond};
pub use catalogue::{CATALOGUE, Demand, Promise};
pub use fault::{Fault, Identity, LinkSet};
pub use history::{History, Record};
pub use judge::{Finding, Judgement, Outcome, judge};
pub use judged_run::Options;
pub use selector::{Bindings, Draw, Selector, SelectorError};
pub use sheet::{BROKEN_MAX, Broken};
pub use standing::{Stand, Standing};
pub use world::{GroundTruth, WorldEvent};
