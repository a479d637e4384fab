//! A selection as an expression: a tree of bounded depth.

use super::condition::Condition;
use crate::{Error, Result};

/// How deep groups and functions go within each other: far deeper than any that people write, and far within any thread's stack, as the
/// functions that parse, show, evaluate and drop an expression are recursive.
pub(super) const MAX_DEPTH: usize = 128;

/// An expression, and the figures that would otherwise take a walk.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Expression {
    pub(super) root: Node,
    /// How many groups and functions are around the innermost condition, at most.
    depth: usize,
    /// How many functions over trees it has.
    trees: usize,
}

#[derive(Clone, PartialEq, Eq)]
pub(super) enum Node {
    Is(Condition),
    /// Never the direct operand of a group of its kind: a list of ten thousand pids is one group of ten thousand.
    Group(Group, Vec<Node>),
    /// Never the direct operand of another one.
    Not(Box<Node>),
    Tree(Box<Tree>),
    /// It was to be deeper than [`MAX_DEPTH`]; always the root.
    TooDeep,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    /// `&`: true when there are no operands.
    All,
    /// `|`: false when there are none.
    Any,
}

/// A function over trees.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Tree {
    /// Which one it is: inner ones before outer ones, and from left to right.
    pub(super) number: usize,
    pub(super) function: TreeFunction,
    pub(super) operand: Node,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TreeFunction {
    /// Its operand, and so many generations below it.
    WithDescendants(u32),
    /// Its operand, and no ancestor.
    Topmost,
}

/// As many generations as there are.
pub(super) const ALL_GENERATIONS: u32 = u32::MAX;

impl Expression {
    pub(super) fn new(condition: Condition) -> Self {
        Self { root: Node::Is(condition), depth: 0, trees: 0 }
    }

    /// The group without operands: everything, or nothing.
    pub(super) const fn empty(group: Group) -> Self {
        Self { root: Node::Group(group, Vec::new()), depth: 0, trees: 0 }
    }

    /// Whether it is the group without operands.
    pub(super) fn is_empty(&self, group: Group) -> bool {
        matches!(&self.root, Node::Group(of, operands) if *of == group && operands.is_empty())
    }

    /// Whether it has functions over trees.
    pub(super) fn has_trees(&self) -> bool {
        self.trees > 0
    }

    pub(super) fn is_too_deep(&self) -> bool {
        matches!(self.root, Node::TooDeep)
    }

    /// Fails where it was to be too deep.
    pub(super) fn check(&self) -> Result<()> {
        if self.is_too_deep() { Err(Error::config(format!("selection: {}", too_deep()))) } else { Ok(()) }
    }

    /// A function over trees, of this expression.
    pub(super) fn within(self, function: TreeFunction) -> Self {
        if self.is_too_deep() || self.depth >= MAX_DEPTH {
            return Self::too_deep();
        }
        let tree = Tree { number: self.trees, function, operand: self.root };
        Self {
            root: Node::Tree(Box::new(tree)),
            depth: self.depth.saturating_add(1),
            trees: self.trees.saturating_add(1),
        }
    }

    /// Both in one group.
    pub(super) fn join(self, group: Group, mut other: Self) -> Self {
        // The empty group is the neutral element.
        if self.is_empty(group) {
            return other;
        }
        if other.is_empty(group) {
            return self;
        }
        let depth = self.depth_of_operands(group).max(other.depth_of_operands(group));
        if self.is_too_deep() || other.is_too_deep() || depth >= MAX_DEPTH {
            return Self::too_deep();
        }
        if self.has_trees() && other.has_trees() {
            other.root.renumber(self.trees);
        }
        let mut operands = self.root.into_operands(group);
        operands.extend(other.root.into_operands(group));
        Self {
            root: Node::Group(group, operands),
            depth: depth.saturating_add(1),
            trees: self.trees.saturating_add(other.trees),
        }
    }

    pub(super) fn negate(self) -> Self {
        let root = match self.root {
            Node::Group(Group::All, operands) if operands.is_empty() => Node::Group(Group::Any, operands),
            Node::Group(Group::Any, operands) if operands.is_empty() => Node::Group(Group::All, operands),
            Node::Not(operand) => *operand,
            Node::TooDeep => Node::TooDeep,
            node => Node::Not(Box::new(node)),
        };
        Self { root, ..self }
    }

    /// All conditions, from left to right.
    pub(super) fn conditions(&self) -> Vec<&Condition> {
        let mut conditions = Vec::new();
        self.root.visit(&mut |node| {
            if let Node::Is(condition) = node {
                conditions.push(condition);
            }
        });
        conditions
    }

    /// All functions over trees, in the order of their numbers.
    pub(super) fn trees(&self) -> Vec<&Tree> {
        let mut trees = Vec::with_capacity(self.trees);
        self.root.visit(&mut |node| {
            if let Node::Tree(tree) = node {
                trees.push(&**tree);
            }
        });
        trees
    }

    fn too_deep() -> Self {
        Self { root: Node::TooDeep, depth: 0, trees: 0 }
    }

    /// How deep it is as an operand of a group, or as several of it.
    fn depth_of_operands(&self, of: Group) -> usize {
        match &self.root {
            Node::Group(group, _) if *group == of => self.depth.saturating_sub(1),
            _ => self.depth,
        }
    }
}

/// The error text for an expression that is too deep.
pub(super) fn too_deep() -> String {
    format!("groups and functions go {MAX_DEPTH} deep at most")
}

impl Node {
    /// Calls `see` with each node, operands before their parents.
    fn visit<'a>(&'a self, see: &mut impl FnMut(&'a Self)) {
        match self {
            Self::Is(_) | Self::TooDeep => {}
            Self::Group(_, operands) => operands.iter().for_each(|operand| operand.visit(see)),
            Self::Not(operand) => operand.visit(see),
            Self::Tree(tree) => tree.operand.visit(see),
        }
        see(self);
    }

    /// Makes room for so many functions before its own.
    fn renumber(&mut self, before: usize) {
        match self {
            Self::Is(_) | Self::TooDeep => {}
            Self::Group(_, operands) => operands.iter_mut().for_each(|operand| operand.renumber(before)),
            Self::Not(operand) => operand.renumber(before),
            Self::Tree(tree) => {
                tree.operand.renumber(before);
                tree.number = tree.number.saturating_add(before);
            }
        }
    }

    /// The nodes it adds to a group of this kind: its operands where it is one itself.
    fn into_operands(self, of: Group) -> Vec<Self> {
        match self {
            Self::Group(group, operands) if group == of => operands,
            node => vec![node],
        }
    }
}
