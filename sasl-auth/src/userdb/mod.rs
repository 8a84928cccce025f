//! Where mailboxes are: what every userdb driver takes and gives.

mod constant;
mod driver;
mod ids;
mod passwd_file;
mod system;

use crate::fields::Fields;

pub use driver::Driver;

/// A user's entry. `uid` and `gid` are in [`Entry::fields`] as decimal numbers (names are resolved by the
/// driver), with `home`, `mail`, `quota_rule` and whatever else the data holds, in this order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// The user's name when the userdb changes it (`user=`).
    pub user: Option<String>,
    /// The fields as they go out on the wire.
    pub fields: Fields,
}

impl Entry {
    /// An entry of fields as a database has them: `user` is taken out, names of `uid` and `gid` become
    /// numbers, empty ones go.
    ///
    /// # Errors
    /// `uid` or `gid` is 0, unknown to the system, or cannot be looked up; the text says which.
    pub fn from_fields(mut fields: Fields) -> Result<Self, String> {
        let user = fields.remove("user").filter(|user| !user.is_empty());
        for (name, resolve) in [("uid", ids::uid as fn(&str) -> _), ("gid", ids::gid)] {
            match fields.value(name) {
                None => {}
                Some("") => {
                    fields.remove(name);
                }
                Some(value) => {
                    let number = resolve(value)?.to_string();
                    fields.set(name, Some(number));
                }
            }
        }
        Ok(Self { user, fields })
    }
}
