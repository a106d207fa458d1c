//! What a copy of the bank says, and whether that can have been true at one moment. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use crate::support::acks::Ack;
use crate::support::verdict::{ROUNDING, Window};

/// The transfers of writer W are W x this + 1, + 2, ...
const PER_WRITER: i64 = 1_000_000_000;
/// What all accounts of one database had together when the bank was opened.
const OPENED_WITH: i64 = 64 * 1_000_000;

/// What one transfer changed in one database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Below 0 for a debit.
    pub amount: i64,
    /// When the transfer was begun.
    pub begun: i128,
}

/// One database of the bank.
#[derive(Clone, Debug, Default)]
pub struct Books {
    /// All accounts together.
    pub balance: i64,
    pub moves: HashMap<i64, Move>,
}

impl Books {
    /// Out of lines of `account NUMBER BALANCE 0` and `move TRANSFER AMOUNT BEGUN`.
    pub fn parse(text: &str) -> Self {
        let mut books = Self::default();
        for line in text.lines() {
            let words: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| words.get(at).and_then(|word| word.parse::<i64>().ok());
            match (words.first(), number(1), number(2), number(3)) {
                (Some(&"account"), Some(_), Some(balance), Some(_)) => books.balance += balance,
                (Some(&"move"), Some(transfer), Some(amount), Some(begun)) => {
                    let before = books.moves.insert(transfer, Move { amount, begun: begun.into() });
                    assert!(before.is_none(), "{line} is there twice");
                }
                _ => panic!("not of the books: {line}"),
            }
        }
        books
    }
}

/// Everything that was copied.
#[derive(Clone, Debug, Default)]
pub struct Copy {
    /// The even writers debit in the first.
    pub branches: [Books; 2],
    /// The transfers that Redis counted.
    pub counted: BTreeSet<i64>,
    /// How many it counted.
    pub count: i64,
}

/// What is wrong with a copy.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// Transfers that had to be there in full: acknowledged before the window.
    pub promised: usize,
    /// Of these, those that are not.
    pub lost: Vec<i64>,
    /// Begun after the window.
    pub late: Vec<i64>,
    /// Transfers that were credited and not debited.
    pub credits_alone: Vec<i64>,
    /// Transfers that were counted and not credited.
    pub counts_alone: Vec<i64>,
    /// Transfers that were begun although the writer's last one was not counted.
    pub begun_early: Vec<i64>,
    /// Transfers that are debited and not credited.
    pub in_flight: Vec<i64>,
    /// What does not add up.
    pub sums: Vec<String>,
    /// Why a database cannot be read at all.
    pub unreadable: Vec<String>,
}

impl Findings {
    /// Judges a copy, by itself and by what was acknowledged and begun before and after the window it is of.
    pub fn of(copy: &Copy, promise: Option<(&[Ack], Window)>) -> Self {
        let side = |transfer: i64| usize::from((transfer / PER_WRITER) % 2 == 1);
        let debit = |transfer: &i64| copy.branches[side(*transfer)].moves.get(transfer);
        let credit = |transfer: &i64| copy.branches[1 - side(*transfer)].moves.get(transfer);
        let counted = |transfer: &i64| copy.counted.contains(transfer);
        let moved: BTreeSet<i64> = copy.branches.iter().flat_map(|books| books.moves.keys().copied()).collect();
        let those = |wrong: &dyn Fn(&i64) -> bool| moved.iter().copied().filter(|t| wrong(t)).collect::<Vec<i64>>();

        let mut findings = Self {
            credits_alone: those(&|t| credit(t).is_some() && debit(t).is_none()),
            counts_alone: copy.counted.iter().copied().filter(|t| credit(t).is_none()).collect(),
            begun_early: those(&|t| t % PER_WRITER > 1 && !counted(&(t - 1))),
            in_flight: those(&|t| debit(t).is_some() && credit(t).is_none()),
            ..Self::default()
        };
        if let Some((acks, window)) = promise {
            let promised = acks.iter().filter(|ack| ack.acked < window.start - ROUNDING).map(|ack| ack.number);
            let promised: Vec<i64> = promised.collect();
            let whole = |t: &i64| debit(t).is_some() && credit(t).is_some() && counted(t);
            findings.promised = promised.len();
            findings.lost = promised.into_iter().filter(|t| !whole(t)).collect();
            let late = |t: &i64| debit(t).or(credit(t)).is_some_and(|of| of.begun > window.end + ROUNDING);
            findings.late = those(&late);
        }
        findings.sums = sums(copy, &findings, |t| Some((*debit(t)?, *credit(t)?)), &moved);
        findings
    }

    /// What is wrong, a line each; nothing if the copy can have been true at one moment.
    pub fn wrong(&self) -> Vec<String> {
        let mut wrong: Vec<String> = self.sums.iter().chain(&self.unreadable).cloned().collect();
        let kinds = [
            ("acknowledged before the window and not there in full", &self.lost),
            ("begun after the window", &self.late),
            ("credited and not debited", &self.credits_alone),
            ("counted and not credited", &self.counts_alone),
            ("begun before the writer's last one was counted", &self.begun_early),
        ];
        for (what, transfers) in kinds.into_iter().filter(|(_, transfers)| !transfers.is_empty()) {
            wrong.push(format!("{} {what}, such as {:?}", transfers.len(), &transfers[..transfers.len().min(3)]));
        }
        let mut writers: BTreeMap<i64, usize> = BTreeMap::new();
        self.in_flight.iter().for_each(|t| *writers.entry(t / PER_WRITER).or_default() += 1);
        let several = writers.iter().filter(|(_, n)| **n > 1);
        wrong.extend(several.map(|(writer, n)| format!("writer {writer} has {n} transfers in flight")));
        wrong
    }
}

/// What does not add up: accounts and moves of each database, both sides of each transfer, and all accounts together.
fn sums(
    copy: &Copy,
    found: &Findings,
    both: impl Fn(&i64) -> Option<(Move, Move)>,
    moved: &BTreeSet<i64>,
) -> Vec<String> {
    let mut wrong = Vec::new();
    for (nth, books) in copy.branches.iter().enumerate() {
        let moves: i64 = books.moves.values().map(|of| of.amount).sum();
        if books.balance != OPENED_WITH + moves {
            let of = format!("the accounts of database {nth} have {}, with moves of {moves}", books.balance);
            wrong.push(of);
        }
    }
    let sides = moved.iter().filter_map(|t| Some((t, both(t)?)));
    let uneven = sides.filter(|(_, (debit, credit))| debit.amount >= 0 || debit.amount != -credit.amount);
    wrong.extend(uneven.map(|(t, sides)| format!("transfer {t} does not add up: {sides:?}")));
    let amount = |t: &i64| copy.branches.iter().filter_map(|books| books.moves.get(t)).map(|of| of.amount).sum::<i64>();
    let in_flight: i64 = found.in_flight.iter().map(amount).sum();
    let all: i64 = copy.branches.iter().map(|books| books.balance).sum();
    if all != 2 * OPENED_WITH + in_flight {
        wrong.push(format!("all accounts have {all}, with {in_flight} in flight"));
    }
    if copy.count != i64::try_from(copy.counted.len()).unwrap() {
        wrong.push(format!("{} are counted, but {} is the count", copy.counted.len(), copy.count));
    }
    wrong
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A copy of these transfers, each with how far it came: 1 debited, 2 credited, 3 counted.
    fn copy(transfers: &[(i64, i32)]) -> Copy {
        let mut copy = Copy::default();
        copy.branches.iter_mut().for_each(|books| books.balance = OPENED_WITH);
        for &(transfer, steps) in transfers {
            let from = usize::from((transfer / PER_WRITER) % 2 == 1);
            for (side, amount, _) in [(from, -5, 1), (1 - from, 5, 2)].into_iter().filter(|(.., at)| steps >= *at) {
                copy.branches[side].moves.insert(transfer, Move { amount, begun: i128::from(transfer) * 10_000_000 });
                copy.branches[side].balance += amount;
            }
            if steps >= 3 {
                copy.counted.insert(transfer);
                copy.count += 1;
            }
        }
        copy
    }

    fn wrong(copy: &Copy) -> Vec<String> {
        Findings::of(copy, None).wrong()
    }

    #[test]
    fn a_copy_of_one_moment_is_right() {
        let w1 = PER_WRITER;
        let right = copy(&[(1, 3), (2, 3), (3, 1), (w1 + 1, 3), (w1 + 2, 2), (2 * w1 + 1, 1)]);
        assert_eq!(wrong(&right), Vec::<String>::new());
        assert_eq!(Findings::of(&right, None).in_flight, [3, 2 * w1 + 1]);
    }

    #[test]
    fn an_effect_without_its_cause_is_found() {
        let mut of = copy(&[(1, 3), (2, 2), (PER_WRITER + 1, 3)]);
        of.branches[0].moves.remove(&2);
        of.branches[0].balance += 5;
        assert_eq!(Findings::of(&of, None).credits_alone, [2]);
        assert_eq!(wrong(&of).len(), 2, "the sum, too: {:?}", wrong(&of));

        let mut of = copy(&[(1, 3), (2, 3), (PER_WRITER + 1, 3)]);
        of.branches[0].moves.remove(&(PER_WRITER + 1));
        of.branches[0].balance -= 5;
        assert_eq!(Findings::of(&of, None).counts_alone, [PER_WRITER + 1]);

        let of = copy(&[(1, 3), (2, 1), (3, 1)]);
        assert_eq!(Findings::of(&of, None).begun_early, [3]);
        assert!(wrong(&of).iter().any(|w| w == "writer 0 has 2 transfers in flight"), "{:?}", wrong(&of));
    }

    #[test]
    fn books_that_do_not_add_up_are_found() {
        let mut of = copy(&[(1, 3)]);
        of.branches[1].balance += 1;
        assert_eq!(wrong(&of).len(), 2, "database and all: {:?}", wrong(&of));
        let mut of = copy(&[(1, 3)]);
        of.branches[1].moves.get_mut(&1).unwrap().amount = 6;
        assert!(wrong(&of).iter().any(|w| w.starts_with("transfer 1 does not add up")), "{:?}", wrong(&of));
        let mut of = copy(&[(1, 3)]);
        of.count = 2;
        assert_eq!(wrong(&of), ["1 are counted, but 2 is the count"]);
    }

    #[test]
    fn the_window_decides_what_must_be_there_and_what_must_not() {
        let ack = |number, begun: i128, acked: i128| Ack { number, begun: begun * 1_000_000, acked: acked * 1_000_000 };
        let acks = [ack(1, 10, 19), ack(2, 20, 29), ack(3, 30, 60)];
        let judge = |copy: &Copy, start: i128, end: i128| {
            Findings::of(copy, Some((&acks, Window { start: start * 1_000_000, end: end * 1_000_000 })))
        };
        let of = copy(&[(1, 3), (2, 3), (3, 1)]);
        let right = judge(&of, 40, 50);
        assert_eq!((right.promised, right.wrong()), (2, Vec::new()));
        assert_eq!(judge(&of, 70, 80).lost, [3]);
        assert_eq!(judge(&of, 25, 26).late, [3]);
    }

    #[test]
    fn books_are_read() {
        let books = Books::parse("account 0 64 0\naccount 1 36 0\nmove 7 -3 1700000000000000000\n");
        assert_eq!(books.balance, 100);
        assert_eq!(books.moves[&7], Move { amount: -3, begun: 1_700_000_000_000_000_000 });
    }
}
