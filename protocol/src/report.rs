//! What a node says about itself to those who watch it. Nothing in the protocol depends on any of
//! this.

pub mod activity;
pub mod holding;
pub mod inspect;
pub mod note;
pub mod query;
pub mod status;
