//! Tests of the judge from outside: the files that show each promise kept and broken, a story and
//! its changes, and the user's page.

mod fixtures;
mod guarantees;
mod story;
