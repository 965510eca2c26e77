"""Users' samples: where the rows are (table), what they say (shapes, chats), and what they become (samples)."""
