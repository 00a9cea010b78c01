//! Everything that needs sockets and processes, in one binary. Loopback only; every port is the kernel's choice.

mod discovery;
mod links;
mod run;
