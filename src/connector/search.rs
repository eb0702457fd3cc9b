//! Searches connectors by words in IDs, names, categories, descriptions, actions and scopes. Pure.

use super::Connector;

/// Where a word was found, the most telling first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum SearchField {
    Id,
    Name,
    Category,
    Action,
    Stream,
    Event,
    Description,
    Scope,
}

impl SearchField {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::Name => "name",
            Self::Category => "category",
            Self::Action => "action",
            Self::Stream => "stream",
            Self::Event => "event",
            Self::Description => "description",
            Self::Scope => "scope",
        }
    }

    fn weight(self) -> u32 {
        match self {
            Self::Id => 100,
            Self::Name => 90,
            Self::Category => 50,
            Self::Action => 30,
            Self::Stream => 22,
            Self::Description => 25,
            Self::Event => 20,
            Self::Scope => 10,
        }
    }
}

/// One thing of a connector that words were found in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchMatch {
    pub field: SearchField,
    /// The action's or the scope's name; the text itself elsewhere.
    pub name: String,
    /// What the action or the scope is for.
    pub description: Option<String>,
}

/// A connector that holds every word.
#[derive(Clone, Debug)]
pub struct SearchHit<'c> {
    pub connector: &'c Connector,
    /// The most telling first.
    pub matches: Vec<SearchMatch>,
    score: u32,
}

/// The connectors in which every word is found somewhere, the best first. Letters count whatever their case.
pub fn search<'c>(connectors: impl IntoIterator<Item = &'c Connector>, words: &[String]) -> Vec<SearchHit<'c>> {
    // A phrase in quotes is as good as its words.
    let words: Vec<String> = words.iter().flat_map(|word| word.split_whitespace()).map(str::to_lowercase).collect();
    let mut hits: Vec<SearchHit<'c>> =
        connectors.into_iter().filter_map(|connector| match_connector(connector, &words)).collect();
    hits.sort_by(|a, b| b.score.cmp(&a.score).then_with(|| a.connector.id.cmp(&b.connector.id)));
    hits
}

fn match_connector<'c>(connector: &'c Connector, words: &[String]) -> Option<SearchHit<'c>> {
    let things = searchable_fields(connector);
    let mut total = 0;
    let mut found: Vec<(u32, usize)> = Vec::new();
    for word in words {
        let scores: Vec<u32> = things.iter().map(|thing| score(thing, word)).collect();
        // The best place says how good the word is; the others only show.
        total += scores.iter().max().copied().filter(|best| *best > 0)?;
        for (index, score) in scores.into_iter().enumerate().filter(|(_, score)| *score > 0) {
            match found.iter_mut().find(|(_, known)| *known == index) {
                Some((sum, _)) => *sum += score,
                None => found.push((score, index)),
            }
        }
    }
    found.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.cmp(&b.1)));
    let matches = found.into_iter().map(|(_, index)| things[index].clone()).collect();
    Some(SearchHit { connector, matches, score: total })
}

fn searchable_fields(connector: &Connector) -> Vec<SearchMatch> {
    let plain = |place, text: &str| SearchMatch { field: place, name: text.to_owned(), description: None };
    let named = |place, name: &str, about: &str| SearchMatch {
        field: place,
        name: name.to_owned(),
        description: Some(about.to_owned()),
    };
    let category = format!("{:?}", connector.category).to_lowercase();
    let mut things = vec![
        plain(SearchField::Id, &connector.id),
        plain(SearchField::Name, &connector.name),
        plain(SearchField::Category, &category),
        plain(SearchField::Description, &connector.description),
    ];
    things.extend(connector.actions.iter().map(|(name, action)| named(SearchField::Action, name, &action.about)));
    things.extend(connector.streams.iter().map(|(name, stream)| named(SearchField::Stream, name, &stream.about)));
    things.extend(connector.events.iter().map(|(name, event)| named(SearchField::Event, name, &event.about)));
    things.extend(connector.scopes.iter().map(|(name, scope)| named(SearchField::Scope, name, scope.purpose())));
    things
}

/// How well a thing holds a word in lower case: as a whole, as a word, as the beginning of one, as a part, or nearly.
fn score(thing: &SearchMatch, word: &str) -> u32 {
    let weight = thing.field.weight();
    let text = thing.name.to_lowercase();
    let in_name = match_quality(&text, word);
    let in_about = thing.description.as_ref().map_or(0, |about| match_quality(&about.to_lowercase(), word));
    let best = in_name.max(in_about.saturating_sub(1));
    if best == 0
        && matches!(thing.field, SearchField::Id | SearchField::Name)
        && strsim::jaro_winkler(&text, word) > 0.9
    {
        // A slip of the finger finds the service, after all that hold the word itself.
        return weight / 20;
    }
    weight * best / 10
}

fn match_quality(text: &str, word: &str) -> u32 {
    if text == word {
        return 20;
    }
    let mut parts = text.split(|c: char| !c.is_alphanumeric()).filter(|part| !part.is_empty());
    if parts.clone().any(|part| part == word) {
        10
    } else if parts.any(|part| part.starts_with(word)) {
        8
    } else if text.contains(word) {
        4
    } else {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::super::catalogue::{BUILT_IN, parse};
    use super::*;

    fn ids(words: &str) -> Vec<String> {
        let connectors: Vec<Connector> = BUILT_IN.iter().map(|(_, text)| parse(text).unwrap()).collect();
        let words: Vec<String> = words.split(' ').map(str::to_owned).collect();
        search(&connectors, &words).iter().map(|hit| hit.connector.id.clone()).collect()
    }

    #[test]
    fn the_service_itself_comes_first() {
        assert_eq!(ids("slack")[0], "slack");
        assert_eq!(ids("GitHub")[0], "github");
        assert_eq!(ids("google calendar")[0], "google-calendar");
        assert_eq!(ids("slak"), ["slack"]);
    }

    #[test]
    fn every_word_must_be_there() {
        assert!(ids("messages").contains(&"slack".to_owned()) && ids("messages").contains(&"gmail".to_owned()));
        let mail = ids("gmail messages");
        assert!(mail.contains(&"gmail".to_owned()) && !mail.contains(&"slack".to_owned()));
        assert!(ids("gmail zebra").is_empty());
    }

    #[test]
    fn what_scopes_are_for_is_found_and_shown() {
        let slack = parse(include_str!("../../connectors/slack.toml")).unwrap();
        let hits = search([&slack], &["reactions".to_owned()]);
        let found =
            |name: &str| hits[0].matches.iter().any(|found| found.field == SearchField::Scope && found.name == name);
        assert!(found("reactions:read") && found("reactions:write"), "{hits:?}");
    }
}
