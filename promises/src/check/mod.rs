//! The checks of the promises, grouped by noun. Each check walks over the index and writes its
//! findings into a sheet.

pub(crate) mod delivery;
pub(crate) mod founding;
pub(crate) mod gaps;
pub(crate) mod held;
pub(crate) mod kept;
pub(crate) mod known;
pub(crate) mod leadership;
pub(crate) mod losses;
pub(crate) mod membership;
pub(crate) mod order;
pub(crate) mod parts;
pub(crate) mod process;
pub(crate) mod quorum;
pub(crate) mod reuse;
pub(crate) mod stability;
pub(crate) mod succession;
pub(crate) mod tables;
pub(crate) mod views;
pub(crate) mod window;
