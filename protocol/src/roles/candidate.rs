//! A peer that misses its leader: it asks around, waits for somebody else's outcome, or claims.

mod adopting;
pub(crate) mod asking;
pub(crate) mod blocked;
pub(crate) mod claim;
pub(crate) mod election;
mod page;
