"""What PyScript starts: the chat, on the notes that `first` has drawn."""

from js import document

from chat import first
from chat.chat import Chat

chat = Chat(document.body.dataset.topic, first.page)
chat.start()
