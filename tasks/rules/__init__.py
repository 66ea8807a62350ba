"""The rules, pure: frames in, frames out. Nothing here opens anything."""
