//! Everything that needs sockets and processes, in one binary. Loopback and own network namespaces only; every port is the
//! kernel's choice.

#![allow(clippy::unwrap_used, reason = "a step of a test that fails is a test that fails")]

mod bench;
mod discovery;
mod files;
mod lan;
mod links;
mod memory;
mod network;
mod outputs;
mod panic;
mod primary;
mod records;
mod replay;
mod run;
mod service;
mod signals;
