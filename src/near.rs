//! Suggests the known word that is most similar to an unknown one.

/// Below this likeness a suggestion misleads more often than it helps.
const LIKE: f64 = 0.75;

/// The known word that is near, whatever its case.
pub(crate) fn closest<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let word = word.to_lowercase();
    let scored = known.into_iter().map(|known| (strsim::jaro_winkler(&known.to_lowercase(), &word), known));
    let (score, best) = scored.max_by(|a, b| a.0.total_cmp(&b.0))?;
    (score > LIKE).then_some(best)
}

/// `, did you mean X?` where one of the known words is near.
pub(crate) fn did_you_mean<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> String {
    closest(word, known).map_or_else(String::new, |best| format!(", did you mean {best}?"))
}

/// The same, and where none is near, the ones there are.
pub(crate) fn did_you_mean_or_list<'k>(word: &str, known: impl IntoIterator<Item = &'k str> + Clone) -> String {
    let suggestion = did_you_mean(word, known.clone());
    let known: Vec<&str> = known.into_iter().collect();
    match (suggestion.is_empty(), known.is_empty()) {
        (false, _) => suggestion,
        (true, true) => String::new(),
        (true, false) => format!("; expected one of: {}", known.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_near_word_is_suggested_and_else_all_are_listed() {
        let known = ["GET", "POST"];
        assert_eq!(did_you_mean_or_list("pots", known), ", did you mean POST?");
        assert_eq!(did_you_mean_or_list("zzz", known), "; expected one of: GET, POST");
        assert_eq!(did_you_mean_or_list("zzz", []), "");
    }
}
