-- What an attempt yielded, as a digest that two builds of the same thing share: it tells Summit when the members of a
-- cycle have settled. Empty until the packages were read, and for attempts from before this column.
ALTER TABLE attempt ADD COLUMN output TEXT NOT NULL DEFAULT '';
