//! Paths with variables of a request, which never leave their folder.

use crate::request::Request;
use crate::variables::{Piece, Template, Values};

/// A variable's value that cannot be part of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BadPath;

/// The longest value: the longest name of a file on Linux.
const LONGEST: usize = 255;

/// The path for a request.
///
/// # Errors
/// A value is empty, begins with a dot, or holds a slash or a NUL: it would name another folder or
/// a hidden file.
pub(crate) fn fill(template: &Template, request: &Request) -> Result<String, BadPath> {
    let values = Values::of(request);
    let mut path = String::new();
    for piece in template.pieces() {
        match piece {
            Piece::Literal(text) => path.push_str(text),
            Piece::Variable(variable) => {
                let value = variable.value(&values);
                if value.is_empty()
                    || value.len() > LONGEST
                    || value.starts_with('.')
                    || value.contains(['/', '\0'])
                {
                    return Err(BadPath);
                }
                path.push_str(&value);
            }
        }
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_stay_inside_the_folder() {
        let template = Template::parse("/etc/users/%d/%n").unwrap();
        let path = |user: &str| fill(&template, &Request { user: user.into(), ..Request::default() });
        assert_eq!(path("joe@x.org"), Ok("/etc/users/x.org/joe".to_owned()));
        for user in [
            "joe",
            "joe@",
            "@x",
            "joe@..",
            "joe@.",
            "joe@.hidden",
            "joe@../x",
            "joe@a/b",
            "../../etc@x",
            "a@b\0c",
            "/@x",
        ] {
            assert_eq!(path(user), Err(BadPath), "{user:?}");
        }
        assert_eq!(path(&format!("a@{}", "b".repeat(256))), Err(BadPath));
    }

    proptest::proptest! {
        #[test]
        fn no_name_leads_out(user in "[a./@\\\\%\0]{0,12}") {
            let template = Template::parse("/etc/users/%d").unwrap();
            if let Ok(path) = fill(&template, &Request { user, ..Request::default() }) {
                let path = std::path::Path::new(&path);
                proptest::prop_assert_eq!(path.parent(), Some(std::path::Path::new("/etc/users")));
                proptest::prop_assert!(path.components().all(|part| part != std::path::Component::ParentDir));
            }
        }
    }
}
