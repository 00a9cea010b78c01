//! The program from outside, and the map of the workspace.

mod children;
mod map;
