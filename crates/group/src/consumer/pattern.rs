//! Subscriptions by regular expression.

use alloc::{string::String, vec::Vec};

use regex_automata::{
    Anchored, Input,
    nfa::thompson::{self, WhichCaptures, pikevm::PikeVM},
};
use regex_syntax::{
    ParserBuilder,
    hir::{Hir, Look},
};

use super::ConsumerError;

/// What a compiled expression may take. A name costs at most its length times the states that fit.
const NFA_BYTES_MAX: usize = 64 * 1024;

/// How deep groups may nest.
const NESTING_MAX: u32 = 64;

/// Bytes of an expression. Kafka has no limit but that of its log (32,767); nobody writes one of this length by hand.
const LEN_MAX: usize = 1024;

/// A regular expression over topic names, in RE2's syntax as far as topic names need it, matched whole and in linear time.
#[derive(Debug)]
pub struct TopicPattern {
    machine: PikeVM,
}

impl TopicPattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// [`ConsumerError::InvalidRegex`], `INVALID_REGULAR_EXPRESSION` on the wire, also for one that would become too large.
    pub fn new(regex: &str) -> Result<Self, ConsumerError> {
        let invalid = || ConsumerError::InvalidRegex { regex: regex.chars().take(200).collect() };
        if regex.len() > LEN_MAX {
            return Err(invalid());
        }
        let parsed = ParserBuilder::new()
            .unicode(false)
            .utf8(false)
            .nest_limit(NESTING_MAX)
            .build()
            .parse(&unquoted(regex))
            .ok()
            .ok_or_else(invalid)?;
        // Joined as parsed expressions and not as text, which `a)(b` or a comment in the expression would break.
        let whole = Hir::concat([Hir::look(Look::Start), parsed, Hir::look(Look::End)].into());
        let config = thompson::Config::new()
            .utf8(false)
            .which_captures(WhichCaptures::None)
            .nfa_size_limit(Some(NFA_BYTES_MAX));
        let nfa = thompson::Compiler::new().configure(config).build_from_hir(&whole);
        let machine = nfa.map(PikeVM::new_from_nfa).ok().ok_or_else(invalid)?;
        Ok(Self { machine: machine.ok().ok_or_else(invalid)? })
    }

    /// Whether it matches the whole of a name.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.machine.is_match(&mut self.machine.create_cache(), whole(name))
    }

    /// Steps that matching this name takes at most.
    pub(crate) fn steps(&self, name: &str) -> usize {
        name.len().saturating_add(1).saturating_mul(self.machine.get_nfa().states().len())
    }

    /// The names that it matches.
    pub fn filter<'a>(&self, names: impl Iterator<Item = &'a str>) -> Vec<String> {
        let mut cache = self.machine.create_cache();
        names
            .filter(|name| self.machine.is_match(&mut cache, whole(name)))
            .map(String::from)
            .collect()
    }
}

fn whole(name: &str) -> Input<'_> {
    Input::new(name).anchored(Anchored::Yes)
}

/// Replaces RE2's `\Q...\E` by the characters it quotes: what `Pattern.quote` makes in Java.
fn unquoted(regex: &str) -> String {
    let mut out = String::with_capacity(regex.len());
    let mut rest = regex;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        out.push_str(before);
        if let Some(quoted) = escape.strip_prefix("\\Q") {
            let (literal, after) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            out.push_str(&regex_syntax::escape(literal));
            rest = after;
        } else {
            // The backslash and what it escapes stay together.
            let end = escape.char_indices().nth(2).map_or(escape.len(), |(end, _)| end);
            let (pair, after) = escape.split_at(end);
            out.push_str(pair);
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matched(regex: &str, name: &str) -> bool {
        TopicPattern::new(regex).unwrap().matches(name)
    }

    #[test]
    fn a_name_is_matched_whole() {
        assert!(matched("a|ab", "ab"), "not only the first branch that fits");
        assert!(!matched("a", "ab"));
        assert!(!matched("b", "ab"));
        assert!(matched("", ""));
        assert!(matched("orders-[0-9]+", "orders-17"));
        assert!(!matched("orders-[0-9]+", "orders-17x"));
        assert!(matched("(?i)ORDERS.*", "orders"));
        assert!(matched(r"\w+\.\d{2}", "a_b.17"));
        assert!(matched(r"[[:alpha:]]+", "abc"));
        assert!(!matched("(?x)a # b", "a # b"), "a comment swallows nothing of ours");
        assert!(matched("(?x)a # b", "a"));
        assert!(matched("(?P<name>a)(?:b)", "ab"));
    }

    #[test]
    fn quoted_parts_are_literal() {
        assert!(matched(r"\Qa.b\E", "a.b"));
        assert!(!matched(r"\Qa.b\E", "axb"));
        assert!(matched(r"\Qa.b", "a.b"), "to the end");
        assert!(matched(r"\Qa.\E.*-\Q(\E", "a.xyz-("));
        assert!(!matched(r"\\Qa", "a"), "an escaped backslash quotes nothing");
    }

    #[test]
    fn what_is_not_regular_or_too_large_is_refused() {
        for bad in ["((", "[", "a{2,1}", r"(a)\1", "(?=a)", "*", "((a{100}){100}){100}", r"\pL"] {
            let error = TopicPattern::new(bad).unwrap_err();
            assert!(matches!(error, ConsumerError::InvalidRegex { .. }), "{bad}");
        }
        assert!(TopicPattern::new(&"(".repeat(300)).is_err());
        assert!(TopicPattern::new(&"a".repeat(LEN_MAX + 1)).is_err());
    }

    #[test]
    fn an_expression_that_backtracks_elsewhere_is_linear_here() {
        let name = "a".repeat(249);
        assert!(!matched("(a*)*b", &name));
        assert!(!matched("(a|a)*(a|a)*(a|a)*c", &name));
    }
}
