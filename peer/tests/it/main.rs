//! Everything that needs sockets and processes, in one binary. Loopback and own network namespaces
//! only; every port is the kernel's choice.

#![allow(clippy::unwrap_used, reason = "a step of a test that fails is a test that fails")]

mod bench;
mod browser;
mod discovery;
mod door_commands;
mod door_crowd;
mod door_follow;
mod door_lines;
mod door_place;
mod door_publish;
mod door_words;
mod files;
mod http;
mod lan;
mod links;
mod memory;
mod metrics;
mod network;
mod outputs;
mod page;
mod panic;
mod primary;
mod records;
mod reference;
mod replay;
mod run;
mod sensors;
mod service;
mod shape;
mod signals;
mod talk;
mod web;
