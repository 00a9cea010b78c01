//! The pages that people read say what the code says.

mod answers;
mod protocol_page;
mod readme;
mod source;
mod wire;
