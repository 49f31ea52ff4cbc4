//! `argosy login` and `argosy user|organisation|settings …` as they are written.

use clap::{Args as Group, Subcommand};

use super::{Limit, Role, pair};

/// `argosy login`
#[derive(Debug, Default, Group)]
pub struct Login {
    /// Thumbprint of the server's identity key, which vouches for its certificate (`tls = self`)
    #[arg(long)]
    pub pin: Option<String>,
    /// Log in as this user, with a password that is asked for
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The user's organisation; `default` unless said
    #[arg(long, value_name = "ID", requires = "user")]
    pub organisation: Option<String>,
    /// Read the password from standard input
    #[arg(long, requires = "user")]
    pub password_stdin: bool,
}

/// `argosy user passwd`
#[derive(Debug, Clone, Copy, Group)]
pub struct Passwd {
    /// Read two lines from standard input: the present password and the new one
    #[arg(long)]
    pub password_stdin: bool,
}

/// `argosy user …`
#[derive(Debug, Subcommand)]
pub enum UserCommand {
    /// Make a user; the generated password is shown this once
    Create {
        /// The name at login
        name: String,
        /// What the user may do
        #[arg(long, value_enum)]
        role: Role,
    },
    /// Users in a table
    List {
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
    /// Everything about a user
    Show {
        /// Name or id
        user: String,
    },
    /// Choose another password for yourself; ends every other session of yours
    Passwd(Passwd),
    /// Give a user another role; ends the user's sessions
    #[command(alias = "role")]
    SetRole {
        /// Name or id
        user: String,
        /// What the user may do from now on
        #[arg(value_enum)]
        role: Role,
    },
    /// Shut a user out, with every session and key
    Disable {
        /// Name or id
        user: String,
    },
    /// Let a user log in again
    Enable {
        /// Name or id
        user: String,
    },
    /// Replace a password by a generated one, which is shown this once
    ResetPassword {
        /// Name or id
        user: String,
    },
    /// Delete a user, with every session and key
    Delete {
        /// Name or id
        user: String,
    },
}

/// `argosy organisation …`
#[derive(Debug, Subcommand)]
pub enum OrganisationCommand {
    /// Make an organisation with an account and a first administrator
    Create {
        /// Names it wherever it is named
        id: String,
        /// For people; the id unless said
        #[arg(long)]
        name: Option<String>,
        /// Name of the first administrator
        #[arg(long)]
        admin: String,
    },
    /// Shut everybody of an organisation out, its agents too
    Disable {
        /// Its id
        id: String,
    },
    /// Let everybody of an organisation in again
    Enable {
        /// Its id
        id: String,
    },
    /// Give an organisation another name
    Rename {
        /// Its id
        id: String,
        /// For people
        name: String,
    },
    /// Organisations in a table
    List {
        /// See [`Limit`].
        #[command(flatten)]
        limit: Limit,
    },
}

/// `argosy settings …`
#[derive(Debug, Subcommand)]
pub enum SettingsCommand {
    /// The settings in force
    Show,
    /// Change settings while the server runs
    Set {
        /// Such as `user_session_idle_s=1800`; repeat for more
        #[arg(required = true, value_name = "NAME=VALUE", value_parser = pair)]
        changes: Vec<(String, String)>,
    },
}
