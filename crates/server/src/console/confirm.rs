//! A page that says what follows before something is done that cannot be taken back.

use askama::Template;

use super::{
    answer::{Shown, page},
    frame::Frame,
    visit::Visit,
};

/// What is about to be done.
pub(super) struct Confirm {
    /// Place in the navigation.
    pub(super) here: &'static str,
    /// What a list of such things is called, and where it is.
    pub(super) list: (&'static str, &'static str),
    /// What is done, such as "Revoke".
    pub(super) verb: &'static str,
    /// To what, by its name.
    pub(super) name: String,
    /// What follows, one sentence each.
    pub(super) consequences: &'static [&'static str],
    /// Where the form goes.
    pub(super) action: String,
}

#[derive(Template)]
#[template(path = "confirm.html")]
struct ConfirmPage {
    frame: Frame,
    confirm: Confirm,
}

/// The page.
pub(super) async fn confirm(visit: &Visit, confirm: Confirm) -> Shown {
    let title = format!("{} {}", confirm.verb, confirm.name);
    page(&ConfirmPage { frame: visit.frame(&title, confirm.here).await, confirm })
}
