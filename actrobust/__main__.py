from actrobust.commands import main

main()
