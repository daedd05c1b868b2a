//! Attributes of a file against those of the model.

use crate::attr::{Access, Attr};
use crate::mgmt::conf::Error;
use crate::mgmt::conf::parse::Node;
use crate::mgmt::conf::plan::{Planner, When, line, value};
use crate::model::lex::{first_and_rest, first_word};
use crate::model::{Change, Object, dynamic};

/// Names that a file may use, of those that the object has.
pub(super) fn settable<T>(lists: &[&'static [Attr<T>]], object: &T) -> Vec<&'static str> {
    let rows = lists.iter().flat_map(|list| list.iter());
    let may = |row: &&Attr<T>| {
        let access = (row.here)(object, row.access);
        matches!(access, Some(Access::ReadWrite | Access::Secret))
    };
    rows.filter(may).map(|row| row.name).collect()
}

impl Planner<'_> {
    /// Plans a line that sets an attribute of `object`, whose state is `now`, if it says anything new.
    pub(super) fn compare<T: Clone>(
        &mut self,
        node: &Node,
        object: Object,
        lists: &[&'static [Attr<T>]],
        now: &T,
        when: When,
    ) -> Result<(), Error> {
        let known = || settable(lists, now).join(", ");
        line(node, "attributes")?;
        let row = lists.iter().flat_map(|list| list.iter()).find(|row| row.name == node.name);
        let access = row.and_then(|row| (row.here)(now, row.access));
        let (Some(row), Some(access)) = (row, access) else {
            return Err(node.wrong(format!("there is no attribute {}; there are {}", node.name, known())));
        };
        let value = value(node)?;
        let before = (row.get)(now);
        // A file may repeat what nobody can set, and what is only so until somebody sets it.
        if access != Access::WriteOnly && before == value {
            return Ok(());
        }
        if !matches!(access, Access::ReadWrite | Access::Secret) {
            return Err(node.wrong(format!("{} cannot be set; what can is {}", node.name, known())));
        }
        // A saved file says 0 of what has no number, and nobody can write that.
        if value == row.default && row.kind.parse(value).is_err() && row.can_restore(value) {
            let change = Change::Reset { object, attribute: row.name.to_owned() };
            self.push(when, Some(node.place), change, Some(&format!("{before} -> {value}")));
            return Ok(());
        }
        let mut after = now.clone();
        row.write(&mut after, value)
            .map_err(|error| Error { errno: error.errno, ..node.wrong(error.text) })?;
        if (row.get)(&after) != before {
            let change = Change::set(object, row.name, value);
            self.push(when, Some(node.place), change, Some(&before));
        }
        Ok(())
    }

    /// Plans a line that adds a value of an attribute that comes and goes. An account with another password
    /// gets the new one.
    pub(super) fn add_value(
        &mut self,
        node: &Node,
        object: &Object,
        shown: &[dynamic::Shown],
    ) -> Result<(), Error> {
        line(node, "attributes")?;
        let value = node.value(if node.name.ends_with("User") {
            "a name and a password in quotes"
        } else {
            "one value"
        })?;
        let Some((row, _)) = dynamic::find(&node.name, *object == Object::Iscsi) else { return Ok(()) };
        let word = first_word(value);
        // Only one outgoing account may be there, whatever its name is.
        let name = if row.name == "OutgoingUser" { "" } else { word };
        let key = format!("{} {} {name}", object.path(), row.name);
        self.once(node, key, format!("{} {name}", row.name).trim_end())?;
        let own = shown.iter().find(|own| own.name == row.name && first_word(&own.value) == word);
        let (object, value) = (object.clone(), value.to_owned());
        match own {
            Some(own) if first_and_rest(&own.value) == first_and_rest(&value) => {}
            Some(own) => {
                let change = Change::Set { object, attribute: own.file.clone(), value };
                self.push(When::InOrder, Some(node.place), change, Some(&own.value));
            }
            None => {
                let attribute = row.name.to_owned();
                self.add(node, Change::AddValue { object, attribute, value });
            }
        }
        Ok(())
    }
}
