module echkit.example/peer

go 1.27
