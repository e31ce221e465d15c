//! What everyone but the writer sees: one consistent state with its revision.

mod cursor;
mod handle;
mod hash;
mod view;
mod wire;

pub use cursor::RangeCursor;
pub(crate) use handle::Shared;
pub use handle::{ReadHandle, Sizes};
pub use hash::{HashKv, HashTask};
pub(crate) use view::revision_header;
pub use view::{LeaseInfo, ReadView};
pub use wire::WireAnswer;
