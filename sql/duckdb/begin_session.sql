-- Every session speaks UTC, and never reaches for the network to find an extension.
SET TimeZone = 'UTC';
SET autoinstall_known_extensions = false;
