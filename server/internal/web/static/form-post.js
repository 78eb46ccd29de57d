// The response of a sign-in goes to the application without a press of the button.
document.getElementById('response').submit()
