//! Topic rewriting: rules that give a topic or a filter of a client another text before
//! anything is done with it. As in EMQX the last rule whose source matches decides, and
//! changes nothing if its regular expression does not match.

use protocol::topic::{Filter, Subscription};
use regex::{Regex, RegexBuilder};

use crate::settings::{RewriteAction, RewriteRule};

use super::Shard;
use super::template::{Facts, Template, Unfillable};

/// Bytes that one compiled regular expression may take.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// The rules of a node, last one first.
#[derive(Debug, Default)]
pub(super) struct Rewrites {
    publish: Vec<Rewrite>,
    subscribe: Vec<Rewrite>,
}

#[derive(Clone, Debug)]
struct Rewrite {
    source: Box<str>,
    re: Regex,
    dest: Template,
}

impl RewriteRule {
    /// Whether the rule can be carried out, or why not.
    pub fn check(&self) -> Result<(), String> {
        Rewrite::new(self).map(drop)
    }
}

impl Rewrite {
    fn new(rule: &RewriteRule) -> Result<Self, String> {
        Filter::parse(&rule.source_topic, u16::MAX)
            .map_err(|error| format!("source_topic = {:?}: {error}", rule.source_topic))?;
        let re = RegexBuilder::new(&rule.re)
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build();
        let re = re.map_err(|error| {
            let text = error.to_string();
            let last = text.lines().last().unwrap_or_default();
            let reason = last.strip_prefix("error: ").unwrap_or(last);
            format!("re = {:?}: {reason}", rule.re)
        })?;
        let dest = Template::new(&rule.dest_topic);
        if dest.has_address() {
            return Err(format!(
                "dest_topic = {:?}: only ${{clientid}}, ${{username}} and $1 to $9 are filled in",
                rule.dest_topic
            ));
        }
        // Group 0 is the whole match.
        let groups = re.captures_len() - 1;
        if dest.groups() > groups {
            return Err(format!(
                "dest_topic = {:?} has ${}, but re has {groups} groups",
                rule.dest_topic,
                dest.groups()
            ));
        }
        Ok(Self {
            source: rule.source_topic.as_str().into(),
            re,
            dest,
        })
    }
}

impl Rewrites {
    /// The rules, ready to be carried out; `None` if there are none. Those that cannot be
    /// carried out are left out: [`RewriteRule::check`] has complained about them.
    pub(super) fn new(rules: &[RewriteRule]) -> Option<Box<Self>> {
        let mut rewrites = Self::default();
        for rule in rules.iter().rev() {
            let Ok(rewrite) = Rewrite::new(rule) else {
                continue;
            };
            if rule.action != RewriteAction::Subscribe {
                rewrites.publish.push(rewrite.clone());
            }
            if rule.action != RewriteAction::Publish {
                rewrites.subscribe.push(rewrite);
            }
        }
        let any = !rewrites.publish.is_empty() || !rewrites.subscribe.is_empty();
        any.then(|| Box::new(rewrites))
    }

    /// What a topic that is published to becomes; `None` if it stays.
    pub(super) fn topic(
        &self,
        topic: &str,
        facts: impl FnOnce() -> Facts,
    ) -> Option<Result<String, Unfillable>> {
        rewrite(&self.publish, topic, facts)
    }

    /// What the filter of a subscription becomes; `None` if it stays. Its share group stays.
    fn filter(
        &self,
        text: &str,
        facts: impl FnOnce() -> Facts,
    ) -> Option<Result<String, Unfillable>> {
        let subscription = Subscription::parse(text, u16::MAX).ok()?;
        let filter = subscription.filter.as_str();
        let rewritten = rewrite(&self.subscribe, filter, facts)?;
        let prefix = text.get(..text.len() - filter.len()).unwrap_or_default();
        Some(rewritten.map(|filter| format!("{prefix}{filter}")))
    }
}

fn rewrite(
    rules: &[Rewrite],
    text: &str,
    facts: impl FnOnce() -> Facts,
) -> Option<Result<String, Unfillable>> {
    let rule = rules.iter().find(|rule| covers(&rule.source, text))?;
    let captures = rule.re.captures(text)?;
    let group = |number| captures.get(number).map_or("", |group| group.as_str());
    match rule.dest.fill(&facts(), group) {
        // The rule is not for clients without a user name.
        Err(Unfillable::NoUsername) => None,
        filled => Some(filled),
    }
}

/// Whether a topic matches, or a filter is a part of, the source of a rule.
fn covers(source: &str, text: &str) -> bool {
    if text.starts_with('$') && source.starts_with(['+', '#']) {
        return false;
    }
    let mut words = text.split('/');
    for level in source.split('/') {
        match (level, words.next()) {
            ("#", _) => return true,
            ("+", Some(word)) if word != "#" => {}
            (level, Some(word)) if level == word => {}
            _ => return false,
        }
    }
    words.next().is_none()
}

impl Shard {
    /// What a topic that a client publishes to becomes; `None` if it stays.
    #[inline]
    pub(super) fn rewritten_topic(
        &self,
        key: u32,
        topic: &str,
    ) -> Option<Result<String, Unfillable>> {
        let rewrites = self.common.rewrites.as_deref()?;
        rewrites.topic(topic, || self.facts(key))
    }

    /// What a filter that a client subscribes to becomes; `None` if it stays.
    pub(super) fn rewritten_filter(
        &self,
        key: u32,
        filter: &str,
    ) -> Option<Result<String, Unfillable>> {
        let rewrites = self.common.rewrites.as_deref()?;
        rewrites.filter(filter, || self.facts(key))
    }

    /// What is known of a client.
    pub(super) fn facts(&self, key: u32) -> Facts {
        let Some(connection) = self.connections.get(key) else {
            return Facts::default();
        };
        let session = self.sessions.get(connection.session);
        Facts {
            client_id: session.map_or_else(Box::default, |session| session.client_id.clone()),
            username: connection.username.clone(),
            host: connection.remote.host(),
            port: connection.remote.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(action: RewriteAction, source: &str, re: &str, dest: &str) -> RewriteRule {
        RewriteRule {
            action,
            source_topic: source.to_owned(),
            re: re.to_owned(),
            dest_topic: dest.to_owned(),
        }
    }

    fn facts() -> Facts {
        Facts {
            client_id: "c".into(),
            username: Some("u".into()),
            ..Facts::default()
        }
    }

    /// The rules of EMQX's manual.
    fn manual() -> Box<Rewrites> {
        let all = RewriteAction::All;
        let rules = [
            rule(all, "y/+/z/#", "^y/(.+)/z/(.+)$", "y/z/$2"),
            rule(all, "x/#", "^x/y/(.+)$", "z/y/$1"),
            rule(all, "x/y/+", "^x/y/(\\d+)$", "z/y/${username}/$1"),
        ];
        Rewrites::new(&rules).unwrap()
    }

    #[test]
    fn the_last_rule_whose_source_matches_decides() {
        let rewrites = manual();
        for (topic, expected) in [
            ("y/a/z/b", Some("y/z/b")),
            ("y/def", None),
            ("x/1/2", None),
            ("x/y/2", Some("z/y/u/2")),
            ("x/y/z", None),
            ("x/y/z/1", Some("z/y/z/1")),
        ] {
            let found = rewrites.topic(topic, facts).map(Result::unwrap);
            assert_eq!(found.as_deref(), expected, "{topic}");
        }
    }

    #[test]
    fn a_filter_is_rewritten_behind_its_share_group() {
        let rewrites = manual();
        for (filter, expected) in [
            ("$share/g/y/a/z/b", Some("$share/g/y/z/b")),
            ("y/+/z/#", Some("y/z/#")),
            ("y/#", None),
            ("#", None),
        ] {
            let found = rewrites.filter(filter, facts).map(Result::unwrap);
            assert_eq!(found.as_deref(), expected, "{filter}");
        }
    }

    #[test]
    fn a_rule_is_for_what_it_says() {
        let rules = [
            rule(RewriteAction::Publish, "a", "a", "p"),
            rule(RewriteAction::Subscribe, "b", "b", "s"),
        ];
        let rewrites = Rewrites::new(&rules).unwrap();
        assert_eq!(rewrites.topic("a", facts), Some(Ok("p".to_owned())));
        assert_eq!(rewrites.topic("b", facts), None);
        assert_eq!(rewrites.filter("a", facts), None);
        assert_eq!(rewrites.filter("b", facts), Some(Ok("s".to_owned())));
        assert!(Rewrites::new(&[]).is_none());
    }

    #[test]
    fn a_rule_that_names_the_user_leaves_clients_without_one_alone() {
        let nobody = || Facts::default();
        assert_eq!(manual().topic("x/y/2", nobody), None);
    }

    #[test]
    fn a_rule_that_cannot_be_carried_out_is_complained_about() {
        let check = |source, re, dest| rule(RewriteAction::All, source, re, dest).check();
        assert_eq!(check("a/#", "^a/(.*)$", "b/$1"), Ok(()));
        for (source, re, dest, complaint) in [
            (
                "a/#/b",
                "x",
                "y",
                "source_topic = \"a/#/b\": # is not alone",
            ),
            ("a", "(", "y", "re = \"(\": unclosed group"),
            ("a", "a{9999}{9999}", "y", "re = "),
            (
                "a",
                "(x)",
                "$2",
                "dest_topic = \"$2\" has $2, but re has 1 groups",
            ),
            ("a", "x", "${host}", "dest_topic = \"${host}\": only"),
        ] {
            let found = check(source, re, dest).unwrap_err();
            assert!(found.starts_with(complaint), "{found}");
        }
    }
}
