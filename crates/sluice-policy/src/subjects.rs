//! Who a rule is about.

use std::collections::BTreeSet;

use sluice_core::{Fact, Subject, SubjectKind};

use crate::Problem;
use crate::nearest::{did_you_mean, one_of};
use crate::spec;
use crate::tri::Answer;

/// A checked list of subjects.
#[derive(Debug, Clone)]
pub(crate) enum Subjects {
    /// Everyone whom the policy identifies.
    Anyone,
    /// A subject that is any of these.
    Listed {
        groups: Vec<Qualified>,
        roles: Vec<Qualified>,
        users: Vec<Qualified>,
        /// `system:serviceaccount:NAMESPACE:NAME`.
        service_accounts: BTreeSet<String>,
    },
}

/// `provider:name`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Qualified {
    provider: String,
    name: String,
}

impl Subjects {
    /// Checks what was written. `providers` are those of the policy,
    /// `namespace` its own.
    pub(crate) fn new(
        written: &spec::Subjects,
        providers: &[String],
        namespace: &str,
        report: &mut impl FnMut(&str, String),
    ) -> Self {
        let lists = [&written.groups, &written.roles, &written.users, &written.service_accounts];
        let any_listed = lists.iter().any(|list| !list.is_empty());
        if written.anyone {
            if any_listed {
                report("", "has `anyone: true` and a list; remove one of them".to_owned());
            }
            return Self::Anyone;
        }
        if !any_listed {
            report("", "names nobody; write groups, roles, users or serviceAccounts, or `anyone: true`".to_owned());
        }
        let mut qualified = |field: &str, list: &[String]| {
            let mut parsed = Vec::new();
            for (index, text) in list.iter().enumerate() {
                match Qualified::parse(text, providers) {
                    Ok(name) => parsed.push(name),
                    Err(message) => report(&format!(".{field}[{index}]"), message),
                }
            }
            parsed
        };
        let groups = qualified("groups", &written.groups);
        let roles = qualified("roles", &written.roles);
        let users = qualified("users", &written.users);
        let mut service_accounts = BTreeSet::new();
        for (index, text) in written.service_accounts.iter().enumerate() {
            let (namespace, name) = text.split_once('/').unwrap_or((namespace, text));
            match crate::units::name(namespace).and_then(|()| crate::units::name(name)) {
                Ok(()) => {
                    service_accounts.insert(format!("system:serviceaccount:{namespace}:{name}"));
                }
                Err(_) => report(
                    &format!(".serviceAccounts[{index}]"),
                    format!("`{text}` is no service account; write `name` or `namespace/name`"),
                ),
            }
        }
        Self::Listed { groups, roles, users, service_accounts }
    }

    /// Whether `subject` is meant.
    pub(crate) fn matches(&self, subject: &Subject) -> Answer {
        match self {
            Self::Anyone => Answer::Yes,
            Self::Listed { groups, roles, users, service_accounts } => match subject.kind {
                SubjectKind::Workload => Answer::from_bool(service_accounts.contains(&subject.id)),
                SubjectKind::Token => {
                    let user = users.iter().any(|user| {
                        user.provider == subject.provider
                            && (user.name == subject.id
                                || subject.kubernetes_user.as_deref() == Some(user.name.as_str()))
                    });
                    Answer::from_bool(user).or(any_held(groups, &subject.provider, &subject.groups)).or(any_held(
                        roles,
                        &subject.provider,
                        &subject.roles,
                    ))
                }
            },
        }
    }

    /// The list in words.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Anyone => "anyone".to_owned(),
            Self::Listed { groups, roles, users, service_accounts } => {
                let mut words: Vec<String> = Vec::new();
                let mut add = |what: &str, list: &[Qualified]| {
                    words.extend(list.iter().map(|one| format!("{what} {}:{}", one.provider, one.name)));
                };
                add("group", groups);
                add("role", roles);
                add("user", users);
                words.extend(service_accounts.iter().map(|account| format!("service account {account}")));
                one_of(&words)
            }
        }
    }
}

fn any_held(wanted: &[Qualified], provider: &str, held: &Fact<BTreeSet<String>>) -> Answer {
    let mut wanted = wanted.iter().filter(|one| one.provider == provider).peekable();
    if wanted.peek().is_none() {
        return Answer::No;
    }
    match held {
        Fact::Known(held) => Answer::from_bool(wanted.any(|one| held.contains(&one.name))),
        Fact::Unknown(_) => Answer::Unknown,
    }
}

impl Qualified {
    fn parse(text: &str, providers: &[String]) -> Result<Self, String> {
        let example = providers.first().map_or("entra", String::as_str);
        let Some((provider, name)) = text.split_once(':') else {
            return Err(format!("`{text}` names no provider; write `{example}:{text}`"));
        };
        if name.is_empty() || name.contains('*') {
            return Err(format!("`{text}` names nobody exactly; write one full name, or `anyone: true`"));
        }
        if !providers.iter().any(|known| known == provider) {
            let near = did_you_mean(provider, providers.iter().map(String::as_str));
            let near = if near.is_empty() { ";".to_owned() } else { near };
            return Err(if providers.is_empty() {
                format!("`{provider}` is no provider of this policy; list it under spec.identity.providers")
            } else {
                format!(
                    "`{provider}` is no provider of this policy{near} Listed under spec.identity.providers: {}",
                    providers.join(", ")
                )
            });
        }
        Ok(Self { provider: provider.to_owned(), name: name.to_owned() })
    }
}

/// A [`Problem`] of one document, as a closure for the checks of its parts.
pub(crate) fn reporter<'a>(
    problems: &'a mut Vec<Problem>,
    document: &'a str,
    at: &'a str,
) -> impl FnMut(&str, String) + 'a {
    move |path, message| {
        problems.push(Problem { document: document.to_owned(), path: format!("{at}{path}"), message });
    }
}
