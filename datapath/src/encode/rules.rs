//! Rule cards, and their counters set to zero when another rule gets the slot.

use cellwall_datapath_common::{RuleCardValue, limits};
use cellwall_policy::compiled::{RuleCard, RuleSlot};
use cellwall_policy::model::Name;

use super::draft::{Draft, Fact, Undo};
use super::{EncodeError, Encoder, Wanted, cells};
use crate::keys::Key;
use crate::layout::Layout;
use crate::plan::Step;
use crate::port::MapName;

impl Encoder {
    pub(super) fn draw_rules(&self, draft: &mut Draft, wanted: &Wanted) -> Result<(), EncodeError> {
        for slot in wanted.unnamed(&wanted.rules, self.image.rules.keys().copied()) {
            draft.dead.insert(Key::Card(slot));
        }
        for (slot, card) in &wanted.rules {
            let Some(card) = card else {
                if self.image.rules.contains_key(slot) {
                    draft.dead.insert(Key::Card(*slot));
                }
                continue;
            };
            self.check_slot(*slot)?;
            self.draw_rule(draft, *slot, &read_back(card)?);
        }
        Ok(())
    }

    fn draw_rule(&self, draft: &mut Draft, slot: RuleSlot, card: &RuleCard) {
        let key = slot.0.to_bytes();
        draft.revived.insert(Key::Card(slot));
        match self.image.rules.get(&slot) {
            Some(before) if before == card => return,
            // Its old rule still counts until the flip; so do the counters of a rule that only changed.
            Some(before) => {
                draft.finish(MapName::RuleCards, &key, &value(card).to_bytes());
                if (&before.name, &before.uid) != (&card.name, &card.uid) {
                    draft.finish.push(Step::Zero(MapName::RuleCounters, vec![slot.0]));
                }
            }
            None => {
                draft.zero(MapName::RuleCounters, slot.0);
                let undo = Undo::Restore(vec![0; MapName::RuleCards.value_size()]);
                draft.write(MapName::RuleCards, &key, &value(card).to_bytes(), &undo);
            }
        }
        draft.facts.push(Fact::Rule(slot, card.clone()));
    }

    /// A slot beyond the counters would not be counted.
    pub(super) fn check_slot(&self, slot: RuleSlot) -> Result<(), EncodeError> {
        let (map, needed) = (MapName::RuleCards, u64::from(slot.0) + 1);
        let limit = self.limit(map).min(self.limit(MapName::RuleCounters));
        if needed > limit {
            Err(EncodeError::Capacity { map, needed, limit })
        } else {
            Ok(())
        }
    }
}

/// The card as it will be read back: a long UID is cut.
fn read_back(card: &RuleCard) -> Result<RuleCard, EncodeError> {
    let (bytes, limit) = (card.name.len(), limits::RULE_NAME);
    if bytes > limit {
        return Err(EncodeError::LongName { bytes, limit });
    }
    // why: a value made of a card with a name is a card
    Ok(card_of(&value(card)).unwrap_or_else(|| card.clone()))
}

fn value(card: &RuleCard) -> RuleCardValue {
    let RuleCard {
        name,
        uid,
        priority,
        action,
    } = card;
    RuleCardValue {
        name: padded(name),
        uid: padded(uid),
        priority: *priority,
        action: cells::action_number(*action),
        pad: [0; 5],
    }
}

/// The card in a slot; none where the slot is free or says nothing known.
pub(crate) fn card_of(value: &RuleCardValue) -> Option<RuleCard> {
    let RuleCardValue {
        name,
        uid,
        priority,
        action,
        pad: _,
    } = value;
    let name = text(name);
    if name.is_empty() {
        return None;
    }
    Some(RuleCard {
        name,
        uid: text(uid),
        priority: *priority,
        action: cells::action_of((*action).into())?,
    })
}

fn padded<const N: usize>(text: &str) -> [u8; N] {
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().zip(text.bytes()) {
        *place = byte;
    }
    bytes
}

fn text(bytes: &[u8]) -> Name {
    let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).into()
}
