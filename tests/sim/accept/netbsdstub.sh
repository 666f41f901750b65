# The start-up file of the stub's sh(1): the user is root, for any user who runs the tests.
id() {
	echo 0
}
