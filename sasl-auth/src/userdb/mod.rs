//! Where mailboxes are: what every userdb driver takes and gives.

use crate::fields::Fields;

/// A user's entry. `uid` and `gid` are in [`Entry::fields`] as decimal numbers (names are resolved by the
/// driver), with `home`, `mail`, `quota_rule` and whatever else the data holds, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The user's name when the userdb changes it (`user=`).
    pub user: Option<String>,
    /// The fields as they go out on the wire.
    pub fields: Fields,
}
