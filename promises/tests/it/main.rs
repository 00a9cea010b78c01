//! The judge from outside: the files that show each promise kept and broken, a story and its
//! changes, and what the user's page says.

mod fixtures;
mod guarantees;
mod story;
