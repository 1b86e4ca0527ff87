"""What PyScript starts: the chat, on the notes that `first` has drawn.

Owns nothing; it never does more than put the two together.
"""

from js import document

from chat import first
from chat.chat import Chat

chat = Chat(document.body.dataset.topic, first.page)
chat.start()
