//! Hosts on one machine: network namespaces, joined by a switch of our own in user space.
//!
//! A [`network::Network`] makes the namespaces and their interfaces (with `ip`, of iproute2), and
//! runs programs inside of them. Every interface is a TAP device whose other end the [`switch`]
//! holds; it delays, loses, doubles, cuts, refuses and captures frames by [`rule`], for each
//! directed pair of hosts, so that no kernel module is needed. Nothing of it outlives the process:
//! a namespace ends with its last process, and a device with its last descriptor.

pub mod capture;
pub mod firewall;
pub mod frame;
pub mod nat;
pub mod network;
pub mod rights;
pub mod rule;
mod segment;
pub mod switch;

pub use network::{Network, NetworkError};
