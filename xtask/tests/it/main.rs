//! The program from outside.

mod children;
