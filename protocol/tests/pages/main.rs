//! The pages that people read say what the code says.
//!
//! Its name is not that of the tests of other crates, `it`: those are built from copies of the core
//! that have no pages beside them.

mod answers;
mod protocol_page;
mod readme;
mod source;
mod wire;
