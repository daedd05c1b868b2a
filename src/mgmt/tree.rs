//! The tree of `/sys/kernel/scst_tgt`: paths, files, links and commands, as a projection of the model's rows.
//!
//! Paths begin at the root of the tree without a slash; the root itself is the empty path. Links are not
//! followed: that is the business of whoever shows the tree. Nothing here keeps anything, and reading waits
//! for nobody.

use std::sync::Arc;

use crate::attr::{Access, Attr, Error, Kind as ValueKind, Tail, with_key};
use crate::model::view::{Entry, View, Visitor};
use crate::model::{Change, Model, Object, dynamic};

/// Longest write in bytes: one page.
pub const WRITE_LIMIT: usize = 4096;
/// Name of the files that take commands.
const COMMANDS: &str = "mgmt";

/// What a path is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A directory.
    Directory,
    /// A file with these permission bits.
    File {
        /// Permission bits: 0444, 0644, 0600 or 0200.
        mode: u32,
    },
    /// A symbolic link.
    Link {
        /// Where it leads, relative to its own directory.
        target: String,
    },
}

/// Whether what is at `path` is there for as long as the directory above it: not so what verbs, logins and
/// commands add and remove. Whoever shows the tree need not look for it again.
pub fn is_lasting(path: &str, kind: &Kind) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    match kind {
        Kind::Link { .. } => false,
        Kind::Directory => matches!(
            parts[..],
            [_] | ["targets", _]
                | ["devices", _, "exported"]
                | ["device_groups", _, "devices" | "target_groups"]
                | ["targets", _, _, "luns" | "ini_groups" | "sessions"]
                | ["targets", _, _, "ini_groups", _, "luns" | "initiators"]
        ),
        Kind::File { .. } => match parts[..] {
            [.., "initiators", _] => false,
            ["targets", _, name] => dynamic::find(name, true).is_none(),
            ["targets", _, _, name] => dynamic::find(name, false).is_none(),
            _ => true,
        },
    }
}

/// A command of a `mgmt` file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerbDescription {
    /// Its word.
    pub name: &'static str,
    /// What follows it.
    pub syntax: &'static str,
    /// What it does.
    pub help: &'static str,
}

/// What there is to know of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description {
    /// Name.
    pub name: String,
    /// Permission bits.
    pub mode: u32,
    /// Which values it takes, in words.
    pub values: String,
    /// The same for programs; none of a `mgmt` file, and of what comes and goes.
    pub kind: Option<ValueKind>,
    /// Value when nobody has set it.
    pub default: String,
    /// Value now, of files that can be read.
    pub value: Option<String>,
    /// The value belongs into a saved configuration.
    pub is_key: bool,
    /// It can be given when the object is made, and not later.
    pub is_creation_only: bool,
    /// It is one of several values of the same attribute, and comes and goes with commands.
    pub is_dynamic: bool,
    /// Why it is accepted for compatibility only.
    pub compatibility: Option<&'static str>,
    /// What it means.
    pub help: String,
    /// Commands, of a `mgmt` file.
    pub verbs: Vec<VerbDescription>,
}

/// The tree. Copies share everything.
#[derive(Clone)]
pub struct Tree {
    model: Arc<Model>,
}

/// Where a path leads.
enum Found {
    Directory(Object),
    Link(String),
    File { object: Object, name: String },
}

fn no_entry(path: &str) -> Error {
    Error::new(libc::ENOENT, format!("there is no /{}", path.trim_matches('/')))
}

fn is_directory(path: &str) -> Error {
    Error::new(libc::EISDIR, format!("/{path} is a directory"))
}

fn is_link(path: &str) -> Error {
    Error::new(libc::ELOOP, format!("/{path} is a link"))
}

impl Tree {
    /// The tree of a model.
    pub fn new(model: Arc<Model>) -> Self {
        Tree { model }
    }

    /// The model.
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    fn find(view: &View<'_>, path: &str) -> Result<Found, Error> {
        let mut object = Object::Root;
        let mut parts = path.split('/').filter(|part| !part.is_empty()).peekable();
        while let Some(part) = parts.next() {
            match view.child(&object, part) {
                Some(Entry::Object(child)) => object = child,
                Some(Entry::Link(target)) if parts.peek().is_none() => return Ok(Found::Link(target)),
                None if parts.peek().is_none() => return Ok(Found::File { object, name: part.to_owned() }),
                _ => return Err(no_entry(path)),
            }
        }
        Ok(Found::Directory(object))
    }

    /// The object whose directory this is, for those who make changes of their own.
    pub fn object(&self, path: &str) -> Result<Object, Error> {
        match Self::find(&self.model.view(), path)? {
            Found::Directory(object) => Ok(object),
            _ => Err(Error::new(libc::ENOTDIR, format!("/{path} is not a directory"))),
        }
    }

    /// What a path is; ENOENT when it is nothing.
    pub fn kind(&self, path: &str) -> Result<Kind, Error> {
        self.look(path).map(|(kind, _)| kind)
    }

    /// The same, and a number that tells the object there from one that is made later under the same name; 0
    /// for what is always there, and for links.
    pub fn look(&self, path: &str) -> Result<(Kind, u64), Error> {
        let view = self.model.view();
        match Self::find(&view, path)? {
            Found::Directory(object) => Ok((Kind::Directory, view.made(&object))),
            Found::Link(target) => Ok((Kind::Link { target }, 0)),
            Found::File { object, name } => {
                let mode = mode(&view, &object, &name)?.ok_or_else(|| no_entry(path))?;
                Ok((Kind::File { mode }, view.made(&object)))
            }
        }
    }

    /// Everything in a directory, by name; ENOENT for what is nothing, ENOTDIR for what is something else.
    pub fn list(&self, path: &str) -> Result<Vec<(String, Kind)>, Error> {
        let view = self.model.view();
        let object = match Self::find(&view, path)? {
            Found::Directory(object) => object,
            Found::File { object, name } if mode(&view, &object, &name)?.is_none() => {
                return Err(no_entry(path));
            }
            _ => return Err(Error::new(libc::ENOTDIR, format!("/{path} is not a directory"))),
        };
        let mut files = Names(Vec::new());
        view.visit(&object, &mut files)?;
        let mut all: Vec<(String, Kind)> =
            files.0.into_iter().map(|(name, access)| (name, Kind::File { mode: access.mode() })).collect();
        for value in view.values(&object) {
            all.push((value.file, Kind::File { mode: value.access.mode() }));
        }
        for pattern in view.patterns(&object) {
            all.push((pattern, Kind::File { mode: Access::ReadOnly.mode() }));
        }
        if !object.verbs().is_empty() {
            all.push((COMMANDS.to_owned(), Kind::File { mode: Access::ReadWrite.mode() }));
        }
        for (name, entry) in view.children(&object) {
            let kind = match entry {
                Entry::Object(_) => Kind::Directory,
                Entry::Link(target) => Kind::Link { target },
            };
            all.push((name, kind));
        }
        all.sort_by(|a, b| a.0.cmp(&b.0));
        Ok(all)
    }

    /// What a file holds, with its `[key]` line. EIO for a file that cannot be read.
    pub fn read(&self, path: &str) -> Result<String, Error> {
        let view = self.model.view();
        match Self::find(&view, path)? {
            Found::Directory(_) => Err(is_directory(path)),
            Found::Link(_) => Err(is_link(path)),
            Found::File { object, name } => {
                let file = file(&view, &object, &name)?.ok_or_else(|| no_entry(path))?;
                file.content.ok_or_else(|| Error::new(libc::EIO, format!("/{path} cannot be read")))
            }
        }
    }

    /// Writes a file: a value, or a command to a `mgmt` file. One call is one command, whole or not at all,
    /// and its result is `last_sysfs_mgmt_res` from then on. EIO for a file that cannot be written; E2BIG for
    /// more than [`WRITE_LIMIT`] bytes.
    pub fn write(&self, path: &str, text: &str) -> Result<(), Error> {
        let done = self.try_write(path, text);
        self.model.set_last_result(done.as_ref().err().map_or(0, |error| error.errno));
        done
    }

    fn try_write(&self, path: &str, text: &str) -> Result<(), Error> {
        let (object, name) = match Self::find(&self.model.view(), path)? {
            Found::Directory(_) => return Err(is_directory(path)),
            Found::Link(_) => return Err(is_link(path)),
            Found::File { object, name } => (object, name),
        };
        let mode = {
            let view = self.model.view();
            mode(&view, &object, &name)?.ok_or_else(|| no_entry(path))?
        };
        if mode & 0o200 == 0 {
            return Err(Error::new(libc::EIO, format!("/{path} cannot be written")));
        }
        if text.len() > WRITE_LIMIT {
            let text = format!("{} bytes are too many for /{path}: at most {WRITE_LIMIT}", text.len());
            return Err(Error::new(libc::E2BIG, text));
        }
        if text.contains('\0') {
            return Err(Error::invalid(format!("a NUL byte cannot be part of /{path}")));
        }
        if name == COMMANDS && !object.verbs().is_empty() {
            let changes = self.model.command(&object, text)?;
            return self.model.apply_all(&changes).map_err(|(_, error)| error);
        }
        let value = text.strip_suffix('\n').unwrap_or(text);
        let value = if takes_blanks(&self.model.view(), &object, &name) { value } else { value.trim() };
        self.model.apply(&Change::set(object, name, value))
    }

    /// What there is to know of a file.
    pub fn describe(&self, path: &str) -> Result<Description, Error> {
        let view = self.model.view();
        let (object, name) = match Self::find(&view, path)? {
            Found::Directory(_) => return Err(is_directory(path)),
            Found::Link(_) => return Err(is_link(path)),
            Found::File { object, name } => (object, name),
        };
        let mut describe = Describe { name: &name, found: None };
        view.visit(&object, &mut describe)?;
        if let Some(found) = describe.found {
            return Ok(found);
        }
        let file = file(&view, &object, &name)?.ok_or_else(|| no_entry(path))?;
        let verbs = object.verbs().iter();
        let verbs = verbs.map(|v| VerbDescription { name: v.name, syntax: v.syntax, help: v.help });
        let row = dynamic::find(&name, object == Object::Iscsi).map(|(row, _)| row);
        let is_command = name == COMMANDS;
        Ok(Description {
            mode: file.mode,
            values: match row {
                Some(row) => row.syntax.to_owned(),
                None if is_command => "a command".to_owned(),
                None => "the name of the file".to_owned(),
            },
            kind: None,
            default: String::new(),
            value: file
                .content
                .filter(|_| !is_command)
                .and_then(|text| text.lines().next().map(str::to_owned)),
            is_key: row.is_some(),
            is_creation_only: false,
            is_dynamic: row.is_some(),
            compatibility: None,
            help: row.map_or("commands", |row| row.help).to_owned(),
            verbs: if is_command { verbs.collect() } else { Vec::new() },
            name,
        })
    }
}

/// A file: permission bits, and what it holds if it can be read.
struct File {
    mode: u32,
    content: Option<String>,
}

fn file(view: &View<'_>, object: &Object, name: &str) -> Result<Option<File>, Error> {
    look_at(view, object, name, true)
}

/// The permission bits of a file, without what it holds.
fn mode(view: &View<'_>, object: &Object, name: &str) -> Result<Option<u32>, Error> {
    Ok(look_at(view, object, name, false)?.map(|file| file.mode))
}

fn look_at(view: &View<'_>, object: &Object, name: &str, with_content: bool) -> Result<Option<File>, Error> {
    let mut show = Show { name, with_content, found: None };
    view.visit(object, &mut show)?;
    if show.found.is_some() {
        return Ok(show.found);
    }
    if name == COMMANDS && !object.verbs().is_empty() {
        let content = with_content.then(|| view.usage(object));
        return Ok(Some(File { mode: Access::ReadWrite.mode(), content }));
    }
    if let Some(value) = view.values(object).into_iter().find(|value| value.file == name) {
        let content = Some(with_key(value.value, true, Tail::AfterKey));
        return Ok(Some(File { mode: value.access.mode(), content }));
    }
    let is_pattern = view.patterns(object).iter().any(|pattern| pattern == name);
    Ok(is_pattern.then(|| File { mode: Access::ReadOnly.mode(), content: Some(format!("{name}\n")) }))
}

/// Collects names and access.
struct Names(Vec<(String, Access)>);

impl Visitor for Names {
    fn rows<T>(&mut self, rows: &'static [Attr<T>], object: &T) {
        let own = |row: &Attr<T>| Some((row.name.to_owned(), (row.here)(object, row.access)?));
        self.0.extend(rows.iter().filter_map(own));
    }
}

/// Shows one attribute.
struct Show<'n> {
    name: &'n str,
    with_content: bool,
    found: Option<File>,
}

impl Visitor for Show<'_> {
    fn rows<T>(&mut self, rows: &'static [Attr<T>], object: &T) {
        let Some(row) = rows.iter().find(|row| row.name == self.name) else { return };
        let Some(access) = (row.here)(object, row.access) else { return };
        let content = (self.with_content && access != Access::WriteOnly).then(|| row.show(object));
        self.found = Some(File { mode: access.mode(), content });
    }
}

/// Describes one attribute.
struct Describe<'n> {
    name: &'n str,
    found: Option<Description>,
}

impl Visitor for Describe<'_> {
    fn rows<T>(&mut self, rows: &'static [Attr<T>], object: &T) {
        let Some(row) = rows.iter().find(|row| row.name == self.name) else { return };
        let Some(access) = (row.here)(object, row.access) else { return };
        self.found = Some(Description {
            name: row.name.to_owned(),
            mode: access.mode(),
            values: row.kind.to_string(),
            kind: Some(row.kind),
            default: row.default.to_owned(),
            value: (access != Access::WriteOnly).then(|| (row.get)(object)),
            is_key: row.is_key(object),
            is_creation_only: access == Access::CreateOnly,
            is_dynamic: false,
            compatibility: row.compatibility,
            help: row.help.to_owned(),
            verbs: Vec::new(),
        });
    }
}

/// Whether blanks at the ends are part of an attribute's value.
fn takes_blanks(view: &View<'_>, object: &Object, name: &str) -> bool {
    struct Find<'n>(&'n str, bool);
    impl Visitor for Find<'_> {
        fn rows<T>(&mut self, rows: &'static [Attr<T>], _object: &T) {
            self.1 |= rows.iter().any(|row| row.name == self.0 && matches!(row.kind, ValueKind::Text(_)));
        }
    }
    let mut find = Find(name, false);
    view.visit(object, &mut find).is_ok() && find.1
}
