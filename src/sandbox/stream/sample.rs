//! The values for samples of records: IDs, people, titles, amounts and times, all derived from the record.

use crate::clock::Timestamp;
use crate::connector::Values;
use crate::sandbox::account::code;

const GIVEN: [&str; 12] =
    ["Mara", "Jonas", "Amina", "Luca", "Ines", "Tomás", "Yuki", "Farid", "Nora", "Piotr", "Leila", "Owen"];

const FAMILY: [&str; 12] = [
    "Lindqvist",
    "Okafor",
    "Brandt",
    "Moreau",
    "Castillo",
    "Novak",
    "Tanaka",
    "Haddad",
    "Larsen",
    "Kowalski",
    "Rossi",
    "Whitaker",
];

const SUBJECTS: [&str; 12] = [
    "Search",
    "The export",
    "Password reset",
    "The invoice page",
    "Dark mode",
    "The mobile menu",
    "Sign-in",
    "The weekly report",
    "File upload",
    "The calendar view",
    "The settings page",
    "The import",
];

const COMPLAINTS: [&str; 12] = [
    "finds nothing",
    "is slow for large teams",
    "fails after a minute",
    "shows the wrong date",
    "forgets its filters",
    "breaks on narrow screens",
    "needs a clearer error",
    "ignores the time zone",
    "returns an empty page",
    "asks twice",
    "should remember the last choice",
    "does not scroll",
];

const TEXTS: [&str; 12] = [
    "It started after the last release.",
    "Works for me now, thanks!",
    "Could you have a look today?",
    "I can reproduce it with a fresh account.",
    "The build is green again.",
    "Let us talk about it tomorrow.",
    "Two customers asked about this.",
    "Here is what I found so far.",
    "Merged, it goes out tonight.",
    "The numbers look right to me.",
    "I will write the notes for it.",
    "Please keep this short.",
];

const COMPANIES: [&str; 12] = [
    "Northwind",
    "Bluebird",
    "Harbour",
    "Juniper",
    "Kestrel",
    "Lantern",
    "Meridian",
    "Oakline",
    "Pinecrest",
    "Quarry",
    "Riverside",
    "Summit",
];

/// What the values of one record follow from.
pub(super) struct SampleWriter {
    pub(super) hash: u64,
    /// What no other record has.
    pub(super) number: u64,
    /// What no other record of the list has.
    pub(super) count: u64,
    /// Unix seconds.
    pub(super) created: i64,
    pub(super) changed: i64,
}

impl SampleWriter {
    /// Sets all that a sample may name of a record; `digits` are 32 hexadecimal ones.
    pub(super) fn set(&self, values: &mut Values, digits: &str) {
        let tail = format!("{:015x}", self.number);
        let id = format!("{}{tail}", &digits[..17]);
        let (given, family) = (self.pick(&GIVEN, 0), self.pick(&FAMILY, 1));
        let company = self.pick(&COMPANIES, 2);
        let amount = 490 + self.part(3) % 400 * 50;
        let ascii: String = format!("{given}.{family}").to_lowercase().replace('á', "a");
        values
            .set("id", &id)
            .set("uuid", &format!("{}-{}-4{}-8{}-{}", &id[..8], &id[8..12], &id[12..15], &tail[..3], &tail[3..]))
            .set("code", &code(self.number))
            .set("n", &self.count.to_string())
            .set("number", &self.number.to_string())
            .set("given", given)
            .set("family", family)
            .set("person", &format!("{given} {family}"))
            .set("person_login", &format!("{ascii}{}", self.count))
            .set("person_email", &format!("{ascii}{}@example.com", self.count))
            .set("company", &format!("{company} {}", self.count))
            .set("domain", &format!("{}{}.example", company.to_lowercase(), self.count))
            .set("title", &format!("{} {}", self.pick(&SUBJECTS, 4), self.pick(&COMPLAINTS, 5)))
            .set("text", self.pick(&TEXTS, 6))
            .set("amount", &amount.to_string())
            .set("price", &format!("{}.{:02}", amount / 100, amount % 100));
        for (name, time) in [("now", self.changed), ("created", self.created)] {
            values
                .set(name, &time.to_string())
                .set(&format!("{name}_ms"), &time.saturating_mul(1000).to_string())
                .set(&format!("{name}_date"), &date(time));
        }
    }

    /// Some bits of the hash for each purpose.
    fn part(&self, purpose: u32) -> u64 {
        self.hash.rotate_left(purpose * 9) & 0xffff_ffff
    }

    fn pick<'w>(&self, words: &[&'w str], purpose: u32) -> &'w str {
        let at = self.part(purpose) % words.len() as u64;
        words.get(usize::try_from(at).unwrap_or_default()).copied().unwrap_or_default()
    }
}

/// A time as RFC 3339 writes it.
pub(super) fn date(time: i64) -> String {
    Timestamp::from_second(time).unwrap_or_default().to_string()
}
